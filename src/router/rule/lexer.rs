//! The words of the rule language: Go's tokens, as far as rules use them.

use std::borrow::Cow;

use super::SyntaxError;

/// A word of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    /// The value of a string literal.
    Text(Cow<'a, str>),
    And,
    Or,
    Not,
    Open,
    Close,
    Comma,
    End,
}

impl Token<'_> {
    /// How error messages call it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => (*name).to_owned(),
            Self::Text(text) => format!("{text:?}"),
            Self::And => "'&&'".to_owned(),
            Self::Or => "'||'".to_owned(),
            Self::Not => "'!'".to_owned(),
            Self::Open => "'('".to_owned(),
            Self::Close => "')'".to_owned(),
            Self::Comma => "','".to_owned(),
            Self::End => "'EOF'".to_owned(),
        }
    }
}

/// Cuts a rule into words.
pub(super) struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// The column of what comes next, in bytes, from 1.
    pub(super) fn column(&self) -> usize {
        self.text.len() - self.rest.len() + 1
    }

    /// The next word and its column.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'a>), SyntaxError> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let column = self.column();
        const SIGNS: [(&str, Token<'static>); 6] = [
            ("&&", Token::And),
            ("||", Token::Or),
            ("!", Token::Not),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
        ];
        for (sign, token) in SIGNS {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.rest = rest;
                return Ok((column, token));
            }
        }
        let Some(first) = self.rest.chars().next() else {
            return Ok((column, Token::End));
        };
        let token = match first {
            '`' => self.raw_text()?,
            '"' => self.quoted_text()?,
            c if c.is_alphabetic() || c == '_' => self.name(),
            other => {
                let found = format!("{other:?}");
                let expected = "a matcher, an operator or a parenthesis";
                return Err(SyntaxError::Unexpected { column, expected, found });
            }
        };
        Ok((column, token))
    }

    fn name(&mut self) -> Token<'a> {
        let end =
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        Token::Name(name)
    }

    /// Between back quotes nothing has a meaning; as in Go, carriage returns are dropped.
    fn raw_text(&mut self) -> Result<Token<'a>, SyntaxError> {
        let column = self.column();
        let unquoted = self.rest.strip_prefix('`').unwrap_or(self.rest);
        let (text, rest) = unquoted
            .split_once('`')
            .ok_or(SyntaxError::Literal { column, reason: "raw string literal not terminated" })?;
        self.rest = rest;
        Ok(Token::Text(if text.contains('\r') {
            Cow::Owned(text.replace('\r', ""))
        } else {
            Cow::Borrowed(text)
        }))
    }

    /// Between double quotes Go's escapes have their meaning.
    fn quoted_text(&mut self) -> Result<Token<'a>, SyntaxError> {
        let column = self.column();
        let unquoted = self.rest.strip_prefix('"').unwrap_or(self.rest);
        let plain_end = unquoted.find(['"', '\\', '\n']).unwrap_or(unquoted.len());
        if let Some((text, rest)) = unquoted.split_at_checked(plain_end)
            && let Some(rest) = rest.strip_prefix('"')
        {
            self.rest = rest;
            return Ok(Token::Text(Cow::Borrowed(text)));
        }
        let literal = |reason| SyntaxError::Literal { column, reason };
        let mut value = Vec::new();
        let mut rest = unquoted;
        loop {
            let mut chars = rest.chars();
            let c = chars.next().ok_or(literal("string literal not terminated"))?;
            rest = chars.as_str();
            match c {
                '"' => break,
                '\n' => return Err(literal("string literal not terminated")),
                '\\' => {
                    rest = escape(rest, &mut value).ok_or(literal("unknown escape sequence"))?;
                }
                other => value.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.rest = rest;
        match String::from_utf8(value) {
            Ok(text) => Ok(Token::Text(Cow::Owned(text))),
            Err(_) => Err(literal("string literal is not UTF-8")),
        }
    }
}

/// Appends what an escape stands for to `value`; `text` follows the backslash. What follows the escape is returned.
fn escape<'a>(text: &'a str, value: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let simple = match chars.next()? {
        'a' => b'\x07',
        'b' => b'\x08',
        'f' => b'\x0c',
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => b'\x0b',
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (number, rest) = number(chars.as_str(), 2, 16)?;
            value.push(u8::try_from(number).ok()?);
            return Some(rest);
        }
        '0'..='7' => {
            let (number, rest) = number(text, 3, 8)?;
            value.push(u8::try_from(number).ok()?);
            return Some(rest);
        }
        length @ ('u' | 'U') => {
            let digits = if length == 'u' { 4 } else { 8 };
            let (number, rest) = number(chars.as_str(), digits, 16)?;
            let c = char::from_u32(number)?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    value.push(simple);
    Some(chars.as_str())
}

/// The number that exactly `digits` digits at the start of `text` stand for, and what follows.
fn number(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some((u32::from_str_radix(number, radix).ok()?, rest))
}
