//! `#[everprof::watched]`: an async function whose futures are watched.
//!
//! Use it as `everprof::watched`; the paths that it writes begin with `::everprof`.
//!
//! Context: the compiler. Invariant: of the function nothing changes but its body, and that
//! only in being the same within a watched future. What is no such function is one error, at
//! the place that is wrong.
//!
//! No parser is needed for that: a function's body is its last group in braces, and `async`
//! stands before its `fn`. So this stands on nothing but the compiler, and costs a build
//! no more than its own few lines.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Watches the future of each call of an `async fn`, wherever it is awaited.
///
/// ```
/// #[everprof::watched]
/// async fn serve(name: &str) -> usize {
///     name.len()
/// }
/// # drop(serve("x"));
/// ```
///
/// It is as if each call were followed by `.watched()`: what it awaits is a record of its own,
/// part of the task that awaits it. That is what shows the parts of a `FuturesUnordered`, of
/// a `JoinSet` or of a large `join_all`, which give each a waker of its own.
///
/// Functions of all kinds can bear it: with attributes, visibility, generic parameters,
/// lifetimes, `where`, `impl Trait` in the place of parameters and results, `self`. The stack
/// of the maker is the one that calls the function, at the first poll.
///
/// # Errors
///
/// On anything but an `async fn` with a body: a function that returns a future is watched by
/// `.watched()` on that.
///
/// ```compile_fail
/// #[everprof::watched]
/// fn serve() -> impl Future<Output = ()> {
///     async {}
/// }
/// ```
///
/// ```compile_fail
/// #[everprof::watched(name = "serve")]
/// async fn serve() {}
/// ```
///
/// ```compile_fail
/// #[everprof::watched]
/// struct Served;
/// ```
///
/// ```compile_fail
/// trait Serve {
///     #[everprof::watched]
///     async fn serve(&self);
/// }
/// ```
#[proc_macro_attribute]
pub fn watched(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let result = match arguments.into_iter().next() {
        Some(argument) => Err((
            argument.span(),
            "`#[watched]` takes no arguments: write `#[everprof::watched]`",
        )),
        None => watch(item),
    };
    result.unwrap_or_else(|(span, message)| error(span, message))
}

/// The function with its body watched.
fn watch(item: TokenStream) -> Result<TokenStream, (Span, &'static str)> {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let fn_at = tokens
        .iter()
        .position(|token| is_word(token, "fn"))
        .ok_or((
            tokens.first().map_or_else(Span::call_site, TokenTree::span),
            "expected an `async fn`: of other futures write `.watched()`",
        ))?;
    let before = tokens.get(..fn_at).unwrap_or(&[]);
    if !before.iter().any(|token| is_word(token, "async")) {
        let span = tokens
            .get(fn_at)
            .map_or_else(Span::call_site, TokenTree::span);
        return Err((
            span,
            "expected an `async fn`: write `.watched()` on the future that this function returns",
        ));
    }
    let end = tokens.last().map_or_else(Span::call_site, TokenTree::span);
    match tokens.pop() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            tokens.push(TokenTree::Group(watched_body(&body)));
            Ok(tokens.into_iter().collect())
        }
        _ => Err((
            end,
            "expected a body: write `#[everprof::watched]` where the trait's function is \
             implemented",
        )),
    }
}

/// `{ ::everprof::task::watch(async move { … }).await }`.
fn watched_body(body: &Group) -> Group {
    let mut words = TokenStream::new();
    // What stands for the compiler's lints is the program's own.
    let site = Span::mixed_site();
    let call = path(&["everprof", "task", "watch"], site);
    words.extend(call);
    let block: TokenStream = [
        word("async", site),
        word("move", site),
        TokenTree::Group(body.clone()),
    ]
    .into_iter()
    .collect();
    words.extend([TokenTree::Group(Group::new(Delimiter::Parenthesis, block))]);
    words.extend([punct('.', Spacing::Alone, site), word("await", site)]);
    let mut watched = Group::new(Delimiter::Brace, words);
    watched.set_span(body.span());
    watched
}

/// `::a::b::c`.
fn path(parts: &[&str], span: Span) -> Vec<TokenTree> {
    let mut tokens = Vec::new();
    for part in parts {
        tokens.push(punct(':', Spacing::Joint, span));
        tokens.push(punct(':', Spacing::Alone, span));
        tokens.push(word(part, span));
    }
    tokens
}

fn word(text: &str, span: Span) -> TokenTree {
    TokenTree::Ident(Ident::new(text, span))
}

fn punct(sign: char, spacing: Spacing, span: Span) -> TokenTree {
    let mut punct = Punct::new(sign, spacing);
    punct.set_span(span);
    TokenTree::Punct(punct)
}

fn is_word(token: &TokenTree, text: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == text)
}

/// `::core::compile_error! { "…" }`, which the compiler shows at `span`.
fn error(span: Span, message: &str) -> TokenStream {
    let text = TokenTree::Literal(proc_macro::Literal::string(message));
    let mut tokens = path(&["core", "compile_error"], span);
    tokens.push(punct('!', Spacing::Alone, span));
    let mut group = Group::new(Delimiter::Brace, TokenStream::from(text));
    group.set_span(span);
    tokens.push(TokenTree::Group(group));
    let mut stream = TokenStream::new();
    for mut token in tokens {
        token.set_span(span);
        stream.extend([token]);
    }
    stream
}
