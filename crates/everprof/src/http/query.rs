//! The query of a request: what is asked of a profile.
//!
//! Context: cold. Invariant: any string is a query; none makes this panic.
//! Source: parameter names and the leniency of `debug` and `gc` (what is no
//! number counts as 0) are those of Go's net/http/pprof; `symbolize`, `age`, `idle`,
//! `leaked` and `label` are ours and strict.

use std::time::Duration;

use crate::config::parse_duration;
use crate::profile::Names;

/// Key and value of a query, decoded, in their order.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// The value as Go's `strconv.Atoi` reads it, 0 where it is no number.
    pub(crate) fn number(&self, key: &str) -> i64 {
        self.get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// None: the answer's form decides.
    pub(crate) fn names(&self) -> Result<Option<Names>, String> {
        match self.get("symbolize") {
            None | Some("") => Ok(None),
            Some("names") => Ok(Some(Names::Table)),
            Some("none") => Ok(Some(Names::None)),
            Some("full") => Ok(Some(Names::Full)),
            Some(other) => Err(format!(
                "invalid value {other:?} for \"symbolize\" - must be none, names or full"
            )),
        }
    }

    pub(crate) fn age(&self) -> Result<Option<Duration>, String> {
        let Some(value) = self.get("age").filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        parse_duration(value).map(Some).ok_or_else(|| {
            format!("invalid value {value:?} for \"age\" - must be a time such as 60s, 5m or 1h")
        })
    }

    /// None: not asked.
    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some("0") => Ok(Some(false)),
            Some("1") => Ok(Some(true)),
            Some(other) => Err(format!(
                "invalid value {other:?} for {key:?} - must be 0 or 1"
            )),
        }
    }

    pub(crate) fn labels(&self) -> Result<Vec<(String, String)>, String> {
        let pairs = self.all("label").map(|value| match value.split_once(':') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!(
                "invalid value {value:?} for \"label\" - must be key:value"
            )),
        });
        pairs.collect()
    }
}

/// Undoes percent-encoding. A `%` that begins none stands for itself, bytes
/// that are no UTF-8 become the replacement character.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 2;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_keys_counts_and_all_can_be_had() {
        let query = Query::parse("debug=1&label=a:b&debug=2&label=c%3Ad&&x");
        assert_eq!(query.number("debug"), 1);
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(
            query.labels(),
            Ok(vec![("a".into(), "b".into()), ("c".into(), "d".into())])
        );
    }

    #[test]
    fn what_is_no_number_is_0_as_in_go() {
        assert_eq!(Query::parse("debug=yes").number("debug"), 0);
        assert_eq!(Query::parse("debug=-1").number("debug"), -1);
        assert_eq!(Query::parse("").number("debug"), 0);
        assert_eq!(
            Query::parse("debug=99999999999999999999").number("debug"),
            0
        );
    }

    #[test]
    fn our_own_parameters_say_what_they_expect() {
        assert_eq!(
            Query::parse("symbolize=full").names(),
            Ok(Some(Names::Full))
        );
        assert_eq!(Query::parse("").names(), Ok(None));
        assert_eq!(Query::parse("idle=1").switch("idle"), Ok(Some(true)));
        assert!(
            Query::parse("idle=yes")
                .switch("idle")
                .is_err_and(|e| e.contains("0 or 1"))
        );
        assert!(
            Query::parse("symbolize=x")
                .names()
                .is_err_and(|e| e.contains("none, names or full"))
        );
        assert_eq!(
            Query::parse("age=60s").age(),
            Ok(Some(Duration::from_secs(60)))
        );
        assert!(
            Query::parse("age=old")
                .age()
                .is_err_and(|e| e.contains("\"old\""))
        );
        assert!(
            Query::parse("label=x")
                .labels()
                .is_err_and(|e| e.contains("key:value"))
        );
    }

    #[test]
    fn any_percent_sign_decodes_to_something() {
        assert_eq!(decode("a%20b+c", true), "a b c");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(decode("%", false), "%");
        assert_eq!(decode("%4", false), "%4");
        assert_eq!(decode("%zz%41", false), "%zzA");
        assert_eq!(decode("%ff", false), "\u{fffd}");
        assert_eq!(decode("ä%c3%a4", false), "ää");
    }
}
