//! The page at `/debug/pprof/`: which profiles there are, and how full.
//!
//! Context: cold. Invariant: names and descriptions reach the page escaped.
//! Source: Go's net/http/pprof has the same table and list.

use std::fmt::Write;

/// One line of the page.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) count: usize,
}

pub(super) fn page(mut lines: Vec<Line<'_>>) -> String {
    lines.sort_by_key(|line| line.name);
    let (mut rows, mut descriptions) = (String::new(), String::new());
    for Line {
        name,
        description,
        count,
    } in &lines
    {
        let (name, description) = (escape(name), escape(description));
        // Writing to a String cannot fail.
        let _ = writeln!(
            rows,
            "<tr><td class=count>{count}</td><td><a href='{name}?debug=1'>{name}</a></td></tr>"
        );
        let _ = writeln!(descriptions, "<dt>{name}</dt><dd>{description}</dd>");
    }
    // As Go's page leads to its goroutines.
    let paragraphs = if lines.iter().any(|line| line.name == "threads") {
        "<p><a href='threads?debug=2'>what each thread is doing</a></p>\n"
    } else {
        ""
    };
    format!(
        "<!DOCTYPE html>
<html>
<head>
<meta charset=utf-8>
<title>/debug/pprof/</title>
<style>
body {{ font-family: sans-serif; max-width: 50rem }}
td.count {{ text-align: right; padding-right: 1rem }}
dt {{ font-weight: bold }}
</style>
</head>
<body>
<h1>/debug/pprof/</h1>
<p>Types of profiles available:</p>
<table>
<thead><tr><td>Count</td><td>Profile</td></tr></thead>
{rows}</table>
{paragraphs}<p>The links lead to text (<code>debug=1</code>). Without it a profile is binary, for
<code>go tool pprof</code>, <code>everprof top</code> and others. <code>seconds=N</code> gives
what changes in N seconds; <code>symbolize=full</code> adds inlined functions and lines,
<code>label=key:value</code> leaves only what has that label.</p>
<dl>
{descriptions}</dl>
</body>
</html>
"
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_stand_in_the_order_of_their_names_and_cannot_inject_markup() {
        let page = page(vec![
            Line {
                name: "heap",
                description: "b",
                count: 12,
            },
            Line {
                name: "<a'>",
                description: "&",
                count: 0,
            },
        ]);
        assert!(page.contains("Types of profiles available:"));
        assert!(page.contains("12</td><td><a href='heap?debug=1'>heap</a>"));
        assert!(page.contains("&lt;a&#39;&gt;") && !page.contains("<a'>"));
        assert!(page.find("&lt;a") < page.find("heap</a>"));
        assert!(!page.contains("debug=2"));
    }

    #[test]
    fn where_there_are_threads_a_link_leads_to_their_paragraphs() {
        let page = page(vec![Line {
            name: "threads",
            description: "",
            count: 3,
        }]);
        assert!(page.contains("href='threads?debug=2'"));
    }
}
