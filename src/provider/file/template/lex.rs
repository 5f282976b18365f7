//! A template's text to pieces, and actions to tokens.

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { line: usize, tokens: Vec<Token> },
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Nothing stands between it and the one before.
    pub(super) glued: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Word(String),
    /// `.name`
    Field(String),
    Dot,
    /// `$name`, with an empty name for `$`.
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Splits a template.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim = false;
    while let Some((before, action)) = rest.split_once("{{") {
        let trim_before =
            action.starts_with('-') && action.chars().nth(1).is_some_and(char::is_whitespace);
        push_text(&mut pieces, before, trim, trim_before);
        line += lines(before);
        let begin = if trim_before { action.get(1..).unwrap_or_default() } else { action };
        let (content, after) = content(begin).map_err(|error| format!("line {line}: {error}"))?;
        let is_comment = content.trim_start().starts_with("/*");
        let tokens = if is_comment { Ok(Vec::new()) } else { tokens(content) };
        let tokens = tokens.map_err(|error| format!("line {line}: {error}"))?;
        if !tokens.is_empty() {
            pieces.push(Piece::Action { line, tokens });
        } else if !is_comment {
            return Err(format!("line {line}: an empty action"));
        }
        line += lines(content);
        trim =
            content.ends_with('-') && content.chars().rev().nth(1).is_some_and(char::is_whitespace);
        rest = after;
    }
    push_text(&mut pieces, rest, trim, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// What stands before the `}}` that ends an action, and what stands behind it.
fn content(text: &str) -> Result<(&str, &str), String> {
    if text.trim_start().starts_with("/*") {
        let end = text.find("*/").ok_or("a comment without end")?;
        let (comment, after) = text.split_at(end + 2);
        let (marker, after) = after.split_once("}}").ok_or("an action without end")?;
        let length = comment.len() + marker.len();
        return Ok((text.get(..length).unwrap_or_default(), after));
    }
    let mut quote = None;
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'' | '`') => quote = Some(character),
            None => {
                if let Some((content, after)) = text.split_at_checked(place)
                    && let Some(after) = after.strip_prefix("}}")
                {
                    return Ok((content, after));
                }
            }
        }
    }
    Err("an action without end".to_owned())
}

/// The tokens of an action. A `-` that trims is not one of them.
fn tokens(content: &str) -> Result<Vec<Token>, String> {
    let trimmed = content.strip_suffix('-').filter(|rest| rest.ends_with(char::is_whitespace));
    let mut rest = trimmed.unwrap_or(content);
    let mut tokens = Vec::new();
    let mut glued = false;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
            glued = false;
            continue;
        }
        let (kind, after) = token(first, rest)?;
        tokens.push(Token { kind, glued });
        glued = true;
        rest = after;
    }
    Ok(tokens)
}

fn token(first: char, text: &str) -> Result<(Kind, &str), String> {
    for (sign, kind) in [
        ("(", Kind::Open),
        (")", Kind::Close),
        ("|", Kind::Pipe),
        (",", Kind::Comma),
        (":=", Kind::Declare),
        ("=", Kind::Assign),
    ] {
        if let Some(after) = text.strip_prefix(sign) {
            return Ok((kind, after));
        }
    }
    let behind = text.get(first.len_utf8()..).unwrap_or_default();
    match first {
        '"' => quoted(behind),
        '`' => {
            let (raw, after) = behind.split_once('`').ok_or("a text without end")?;
            Ok((Kind::Text(raw.to_owned()), after))
        }
        '\'' => character(behind),
        '$' => {
            let (name, after) = word(behind);
            Ok((Kind::Variable(name.to_owned()), after))
        }
        '.' if !behind.starts_with(|next: char| next.is_ascii_digit()) => {
            let (name, after) = word(behind);
            let kind = if name.is_empty() { Kind::Dot } else { Kind::Field(name.to_owned()) };
            Ok((kind, after))
        }
        '0'..='9' | '+' | '-' | '.' => number(text),
        _ => {
            let (name, after) = word(text);
            if name.is_empty() {
                return Err(format!("unexpected `{first}`"));
            }
            Ok((Kind::Word(name.to_owned()), after))
        }
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    text.split_at(end.unwrap_or(text.len()))
}

fn quoted(text: &str) -> Result<(Kind, &str), String> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let letter = rest.chars().next().ok_or("a text without end")?;
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            '"' => return Ok((Kind::Text(value), rest)),
            '\n' => return Err("a text without end".to_owned()),
            '\\' => {
                let (escaped, after) = escape(rest)?;
                value.push(escaped);
                rest = after;
            }
            _ => value.push(letter),
        }
    }
}

fn character(text: &str) -> Result<(Kind, &str), String> {
    let letter = text.chars().next().ok_or("a character without end")?;
    let behind = text.get(letter.len_utf8()..).unwrap_or_default();
    let (letter, after) = if letter == '\\' { escape(behind)? } else { (letter, behind) };
    let after = after.strip_prefix('\'').ok_or("a character without end")?;
    Ok((Kind::Int(i64::from(u32::from(letter))), after))
}

/// The character behind a backslash.
fn escape(text: &str) -> Result<(char, &str), String> {
    let sign = text.chars().next().ok_or("a text without end")?;
    let behind = text.get(sign.len_utf8()..).unwrap_or_default();
    let digits = match sign {
        'n' => return Ok(('\n', behind)),
        't' => return Ok(('\t', behind)),
        'r' => return Ok(('\r', behind)),
        '\\' | '"' | '\'' => return Ok((sign, behind)),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return Err(format!("unknown escape `\\{sign}`")),
    };
    let (hex, after) = behind.split_at_checked(digits).ok_or("an escape without end")?;
    let code =
        u32::from_str_radix(hex, 16).map_err(|_invalid| format!("wrong escape `\\{sign}{hex}`"))?;
    Ok((char::from_u32(code).ok_or_else(|| format!("wrong escape `\\{sign}{hex}`"))?, after))
}

fn number(text: &str) -> Result<(Kind, &str), String> {
    let end = text.char_indices().find(|&(place, letter)| {
        let sign = matches!(letter, '+' | '-');
        let exponent = text
            .get(..place)
            .is_some_and(|before| before.ends_with(['e', 'E']) && !before.contains('x'));
        !(letter.is_alphanumeric()
            || matches!(letter, '.' | '_')
            || (sign && (place == 0 || exponent)))
    });
    let (digits, after) = text.split_at(end.map_or(text.len(), |(place, _)| place));
    let plain = digits.replace('_', "");
    let (sign, magnitude) = match plain.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", plain.trim_start_matches('+')),
    };
    let based = |prefixes: [&str; 2], base| {
        let digits = prefixes.iter().find_map(|prefix| magnitude.strip_prefix(prefix))?;
        i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
    };
    let int = based(["0x", "0X"], 16)
        .or_else(|| based(["0o", "0O"], 8))
        .or_else(|| based(["0b", "0B"], 2));
    if let Some(int) = int.or_else(|| format!("{sign}{magnitude}").parse().ok()) {
        return Ok((Kind::Int(int), after));
    }
    let float = plain.parse().map_err(|_invalid| format!("wrong number `{digits}`"))?;
    Ok((Kind::Float(float), after))
}
