//! Functions of texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::{Regex, RegexBuilder};
use sha1::Digest as _;

use super::{Arguments, Value, float, int, shown};
use crate::provider::file::template::value::TEXT_BYTES_MAX;

/// Compiled size of an expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(super) fn call(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    let text = |place| arguments.text(place);
    let value = match name {
        "upper" => text(0)?.to_uppercase(),
        "lower" => text(0)?.to_lowercase(),
        "title" => title(&text(0)?),
        "trim" => text(0)?.trim().to_owned(),
        "trimAll" => {
            text(1)?.trim_matches(|letter| text(0).is_ok_and(|all| all.contains(letter))).to_owned()
        }
        "trimPrefix" => {
            let (whole, prefix) = (text(1)?, text(0)?);
            whole.strip_prefix(&*prefix).unwrap_or(&whole).to_owned()
        }
        "trimSuffix" => {
            let (whole, suffix) = (text(1)?, text(0)?);
            whole.strip_suffix(&*suffix).unwrap_or(&whole).to_owned()
        }
        "replace" => replaced(&text(2)?, &text(0)?, &text(1)?)?,
        // Traefik's own, with the text first; sprig's is `splitList`.
        "split" => return Value::texts(parts(&text(0)?, &text(1)?)).map(Some),
        "splitList" => return Value::texts(parts(&text(1)?, &text(0)?)).map(Some),
        "contains" => return Ok(Some(text(1)?.contains(&*text(0)?).into())),
        "hasPrefix" => return Ok(Some(text(1)?.starts_with(&*text(0)?).into())),
        "hasSuffix" => return Ok(Some(text(1)?.ends_with(&*text(0)?).into())),
        "quote" => each(arguments, |text| format!("{text:?}"))?,
        "squote" => each(arguments, |text| format!("'{text}'"))?,
        "cat" => each(arguments, ToOwned::to_owned)?,
        "nospace" => text(0)?.split_whitespace().collect(),
        "indent" => indented(&text(1)?, arguments.size(0)?)?,
        "nindent" => format!("\n{}", indented(&text(1)?, arguments.size(0)?)?),
        "repeat" => {
            let (count, text) = (arguments.size(0)?, text(1)?);
            if text.len().checked_mul(count).is_none_or(|length| length > TEXT_BYTES_MAX) {
                return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
            }
            text.repeat(count)
        }
        "substr" => {
            let (start, end) = (arguments.int(0)?, arguments.int(1)?);
            let skipped = usize::try_from(start).unwrap_or(0);
            let taken = usize::try_from(end).map_or(usize::MAX, |end| end.saturating_sub(skipped));
            text(2)?.chars().skip(skipped).take(taken).collect()
        }
        "trunc" => {
            let (length, text) = (arguments.int(0)?, text(1)?);
            let size = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
            let skipped = if length < 0 { text.chars().count().saturating_sub(size) } else { 0 };
            text.chars().skip(skipped).take(size).collect()
        }
        "normalize" => {
            let text = text(0)?;
            let words = text.split(|letter: char| !letter.is_alphanumeric());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
        }
        _ => return Ok(None),
    };
    Value::text(value).map(Some)
}

/// Encodings and regular expressions.
pub(super) fn convert(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    let text = |place| arguments.text(place);
    let value = match name {
        "toString" => text(0)?,
        "toJson" => {
            let mut out = String::new();
            arguments.get(0)?.json(&mut out)?;
            out
        }
        "b64enc" => STANDARD.encode(text(0)?),
        "b64dec" => {
            let bytes = STANDARD.decode(text(0)?).map_err(|error| error.to_string())?;
            String::from_utf8(bytes).map_err(|_binary| "the result is not a text".to_owned())?
        }
        "sha1sum" => hex(&sha1::Sha1::digest(text(0)?)),
        "sha256sum" => hex(&sha2::Sha256::digest(text(0)?)),
        "urlquery" => utf8_percent_encode(&text(0)?, NON_ALPHANUMERIC).to_string(),
        "regexMatch" | "mustRegexMatch" => {
            return Ok(Some(regex(&text(0)?)?.is_match(&text(1)?).into()));
        }
        "regexFind" | "mustRegexFind" => {
            let found = text(1)?;
            regex(&text(0)?)?
                .find(&found)
                .map(|found| found.as_str().to_owned())
                .unwrap_or_default()
        }
        "regexReplaceAll" | "mustRegexReplaceAll" => {
            regex_replaced(&regex(&text(0)?)?, &text(1)?, &text(2)?)?
        }
        "regexSplit" | "mustRegexSplit" => {
            let (whole, regex) = (text(1)?, regex(&text(0)?)?);
            let count = usize::try_from(arguments.int(2)?).unwrap_or(usize::MAX);
            return Value::texts(regex.splitn(&whole, count)).map(Some);
        }
        _ => return Ok(None),
    };
    Value::text(value).map(Some)
}

fn parts<'a>(text: &'a str, separator: &'a str) -> Vec<&'a str> {
    if separator.is_empty() {
        // As Go: by characters, without empty ones at the ends.
        return text.split("").filter(|part| !part.is_empty()).collect();
    }
    text.split(separator).collect()
}

fn title(text: &str) -> String {
    let mut begins = true;
    let letters = text.chars().flat_map(|letter| {
        let cased: Vec<char> = if begins { letter.to_uppercase().collect() } else { vec![letter] };
        begins = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        cased
    });
    letters.collect()
}

fn replaced(text: &str, old: &str, new: &str) -> Result<String, String> {
    let growth = text.matches(old).count().saturating_mul(new.len());
    if growth.saturating_add(text.len()) > TEXT_BYTES_MAX {
        return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text.replace(old, new))
}

fn regex_replaced(regex: &Regex, text: &str, new: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut copied = 0;
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(text.get(copied..whole.start()).unwrap_or_default());
        // What a group has found can be put in many times.
        if new.len().saturating_mul(1 + whole.len()).saturating_add(out.len()) > 8 * TEXT_BYTES_MAX
        {
            return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
        }
        found.expand(new, &mut out);
        copied = whole.end();
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(out)
}

fn each(arguments: &Arguments<'_>, change: fn(&str) -> String) -> Result<String, String> {
    let present = arguments.0.iter().filter(|value| !matches!(value, Value::Nil));
    let texts = present.map(|value| shown(value).map(|text| change(&text)));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn indented(text: &str, width: usize) -> Result<String, String> {
    let lines = text.matches('\n').count() + 1;
    if lines.saturating_mul(width).saturating_add(text.len()) > TEXT_BYTES_MAX {
        return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
    }
    let space = " ".repeat(width);
    Ok(format!("{space}{}", text.replace('\n', &format!("\n{space}"))))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// `$NAME` and `${NAME}` replaced from the environment.
pub(super) fn expanded(text: &str) -> Result<String, String> {
    let names = regex(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))")?;
    let value = |found: &regex::Captures<'_>| {
        let name = found.get(1).or_else(|| found.get(2)).map_or("", |name| name.as_str());
        std::env::var(name).unwrap_or_default()
    };
    Ok(names.replace_all(text, value).into_owned())
}

/// As Go's `Sprint`: spaces only between two that are not texts.
pub(super) fn printed(values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut before_was_text = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !before_was_text {
            out.push(' ');
        }
        value.print(&mut out, TEXT_BYTES_MAX)?;
        before_was_text = is_text;
    }
    Ok(out)
}

/// As Go's `Sprintf`: `%s`, `%v`, `%d`, `%q`, `%t`, `%x`, `%f`, with width and precision.
pub(super) fn formatted(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = String::new();
        let verb = loop {
            match letters.next() {
                Some(flag @ ('0'..='9' | '.' | '-' | '+' | '#' | ' ')) => flags.push(flag),
                Some(verb) => break verb,
                None => return Err("the format ends in a `%`".to_owned()),
            }
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("no value for `%{flags}{verb}`"))?;
        out.push_str(&verb_of(verb, &flags, value)?);
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
        }
    }
    Ok(out)
}

fn verb_of(verb: char, flags: &str, value: &Value) -> Result<String, String> {
    let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
    let precision = precision.parse().ok().filter(|&digits: &usize| digits <= 100);
    let text = match verb {
        's' | 'v' => value.shown()?,
        'd' => int(value).to_string(),
        't' => value.is_true().to_string(),
        'q' => format!("{:?}", shown(value)?),
        'x' => match value {
            Value::Text(text) => hex(text.as_bytes()),
            _ => format!("{:x}", int(value)),
        },
        'f' => format!("{:.*}", precision.unwrap_or(6), float(value)),
        _ => return Err(format!("unknown verb `%{verb}`")),
    };
    let left = width.contains('-');
    let zeros = !left && width.starts_with('0') && verb != 's';
    let size =
        width.trim_start_matches(['-', '+', '#', ' ', '0']).parse().unwrap_or(0).min(1000_usize);
    let missing = size.saturating_sub(text.chars().count());
    Ok(match (left, zeros) {
        (true, _) => text + &" ".repeat(missing),
        (false, true) if text.starts_with('-') => {
            format!("-{}{}", "0".repeat(missing), text.trim_start_matches('-'))
        }
        (false, true) => "0".repeat(missing) + &text,
        (false, false) => " ".repeat(missing) + &text,
    })
}
