//! Go templating of configuration files: a file is rendered before it is decoded.
//!
//! Traefik v3: file provider, "Go Templating": the language of Go's `text/template`, sprig's functions as far as
//! [`functions`] has them, `normalize` and `split`.
//!
//! Differs: maps do not change (`set` and `unset` give new ones), there are no methods and no random or cryptographic
//! functions, and a rendering that takes too many steps or too much memory is refused.

mod execute;
mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod value;

/// Renders `text` of `file`. A text without actions is returned as it is. Errors name the file and mostly the line.
pub(crate) fn render(file: &str, text: String) -> Result<String, String> {
    if !text.contains("{{") {
        return Ok(text);
    }
    let rendered = parse::parse(&text).and_then(|templates| execute::execute(&templates));
    rendered.map_err(|error| format!("{file}: template: {error}"))
}
