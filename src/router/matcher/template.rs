//! Templates of the v2 syntax: `{name:expression}` and `{name}` among text that stands for itself.

use super::MatcherError;
use crate::router::pattern::Pattern;

/// Where a template ends, and what `{name}` stands for.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) struct Kind {
    /// The matcher, for errors.
    pub(in crate::router) matcher: &'static str,
    /// What a variable without an expression matches.
    pub(in crate::router) default: &'static str,
    /// Before the text: anchors and flags.
    pub(in crate::router) start: &'static str,
    /// Behind the text.
    pub(in crate::router) end: &'static str,
}

/// The expression that `template` stands for; `None` when it has no variables.
pub(in crate::router) fn compile(
    template: &str,
    kind: Kind,
) -> Result<Option<Pattern>, MatcherError> {
    let mut source = kind.start.to_owned();
    let mut variables = 0_usize;
    let mut rest = template;
    while let Some(open) = rest.find(['{', '}']) {
        let (text, braced) = rest.split_at_checked(open).unwrap_or((rest, ""));
        let (variable, tail) =
            braces(braced).ok_or_else(|| MatcherError::Braces(template.to_owned()))?;
        let (name, expression) = variable.split_once(':').unwrap_or((variable, kind.default));
        if name.is_empty() || expression.is_empty() {
            return Err(MatcherError::Template(format!("{{{variable}}}")));
        }
        source.push_str(&regex::escape(text));
        source.extend(["(", expression, ")"]);
        variables += 1;
        rest = tail;
    }
    if variables == 0 {
        return Ok(None);
    }
    source.push_str(&regex::escape(rest));
    source.push_str(kind.end);
    let pattern = Pattern::new(&source)
        .map_err(|source| MatcherError::Pattern { matcher: kind.matcher, source })?;
    if pattern.groups() != variables {
        return Err(MatcherError::Groups(template.to_owned()));
    }
    Ok(Some(pattern))
}

/// The inside of the braces that `text` begins with, and what follows them. Braces nest.
fn braces(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((text.get(1..index)?, text.get(index + 1..)?));
                }
            }
            _ => {}
        }
    }
    None
}

/// The expression that stands for `text` itself.
pub(in crate::router) fn literal(text: &str, kind: Kind) -> Result<Pattern, MatcherError> {
    let source = format!("{}{}{}", kind.start, regex::escape(text), kind.end);
    Pattern::new(&source).map_err(|source| MatcherError::Pattern { matcher: kind.matcher, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { matcher: "Path", default: "[^/]+", start: "^", end: "$" };

    #[test]
    fn variables_match_and_text_stands_for_itself() {
        let pattern = compile("/a.b/{id:[0-9]{2,3}}/{rest}", KIND).unwrap().unwrap();
        assert!(pattern.is_match("/a.b/123/x"));
        assert!(!pattern.is_match("/aXb/123/x"));
        assert!(!pattern.is_match("/a.b/1/x"));
        assert!(!pattern.is_match("/a.b/123/x/y"));
        assert!(compile("/plain", KIND).unwrap().is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for (template, error) in [
            ("/{", "unbalanced braces in \"/{\""),
            ("/}", "unbalanced braces in \"/}\""),
            ("/{a:{}", "unbalanced braces in \"/{a:{}\""),
            ("/{}", "missing name or pattern in \"{}\""),
            ("/{a:}", "missing name or pattern in \"{a:}\""),
        ] {
            assert_eq!(compile(template, KIND).unwrap_err().to_string(), error, "{template}");
        }
        assert!(matches!(compile("/{a:(b)}", KIND), Err(MatcherError::Groups(_))));
        assert!(matches!(compile("/{a:[}", KIND), Err(MatcherError::Pattern { .. })));
    }
}
