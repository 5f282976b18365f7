//! Functions of templates: Go's own, sprig's that are used in configuration files, `normalize` and `split`.

mod collections;
mod numbers;
mod text;

use super::value::Value;

/// Arguments of a function, the piped one last.
pub(super) struct Arguments<'a>(&'a [Value]);

impl Arguments<'_> {
    fn get(&self, place: usize) -> Result<&Value, String> {
        self.0.get(place).ok_or_else(|| format!("needs at least {} arguments", place + 1))
    }

    fn last(&self) -> Result<&Value, String> {
        self.0.last().ok_or_else(|| "needs an argument".to_owned())
    }

    /// An argument as a text, whatever it is.
    fn text(&self, place: usize) -> Result<String, String> {
        shown(self.get(place)?)
    }

    /// An argument as a number; texts are read, what is no number is 0.
    fn int(&self, place: usize) -> Result<i64, String> {
        Ok(int(self.get(place)?))
    }

    /// A size that must not be negative.
    fn size(&self, place: usize) -> Result<usize, String> {
        let number = self.int(place)?;
        usize::try_from(number).map_err(|_negative| format!("{number} is out of range"))
    }

    fn list(&self, place: usize) -> Result<&[Value], String> {
        members(self.get(place)?)
    }
}

/// Runs a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let arguments = Arguments(arguments);
    for group in [
        plain,
        text::call,
        text::convert,
        numbers::call,
        collections::call,
        collections::looks,
        collections::maps,
    ] {
        if let Some(value) = group(name, &arguments)? {
            return Ok(value);
        }
    }
    Err("there is no such function".to_owned())
}

/// Logic, comparisons, printing, environment.
fn plain(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    Ok(Some(match name {
        "and" | "or" => arguments.last()?.clone(),
        "not" => Value::Bool(!arguments.get(0)?.is_true()),
        "eq" => {
            let first = arguments.get(0)?;
            arguments.get(1)?;
            arguments.0.iter().skip(1).any(|other| same(first, other)).into()
        }
        "ne" => (!same(arguments.get(0)?, arguments.get(1)?)).into(),
        "lt" | "le" | "gt" | "ge" => {
            let order = order(arguments.get(0)?, arguments.get(1)?)?;
            Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        "default" => {
            let given = arguments.last()?;
            if given.is_true() && arguments.0.len() > 1 { given } else { arguments.get(0)? }.clone()
        }
        "empty" => (!arguments.get(0)?.is_true()).into(),
        "coalesce" => {
            arguments.0.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil)
        }
        "ternary" => arguments.get(usize::from(!arguments.get(2)?.is_true()))?.clone(),
        "fail" => return Err(arguments.text(0)?),
        "required" => match arguments.get(1)? {
            value if value.is_true() => value.clone(),
            _ => return Err(arguments.text(0)?),
        },
        "env" => Value::text(std::env::var(arguments.text(0)?).unwrap_or_default())?,
        "expandenv" => Value::text(text::expanded(&arguments.text(0)?)?)?,
        "print" => Value::text(text::printed(arguments.0)?)?,
        "println" => Value::text(
            arguments.0.iter().map(shown).collect::<Result<Vec<_>, _>>()?.join(" ") + "\n",
        )?,
        "printf" => Value::text(text::formatted(
            &arguments.text(0)?,
            arguments.0.get(1..).unwrap_or_default(),
        )?)?,
        "kindOf" | "typeOf" => Value::text(arguments.get(0)?.kind())?,
        "kindIs" | "typeIs" => (arguments.text(0)? == arguments.get(1)?.kind()).into(),
        _ => return Ok(None),
    }))
}

/// The text of a value; what is missing is an empty one.
fn shown(value: &Value) -> Result<String, String> {
    match value {
        Value::Nil => Ok(String::new()),
        _ => value.shown(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as Go converts; out of range saturates")]
fn int(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        Value::Int(number) => *number,
        Value::Float(number) => *number as i64,
        Value::Text(text) => text
            .trim()
            .parse()
            .or_else(|_not_whole| text.trim().parse::<f64>().map(|number| number as i64))
            .unwrap_or(0),
        Value::Nil | Value::List(_) | Value::Map(_) => 0,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => text.trim().parse().unwrap_or(0.0),
        other => int(other) as f64,
    }
}

fn members(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::List(list) => Ok(&list.members),
        Value::Nil => Ok(&[]),
        other => Err(format!("a {} is not a list", other.kind())),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    one.equals(other)
}

fn order(one: &Value, other: &Value) -> Result<std::cmp::Ordering, String> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(one.cmp(other)),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            Ok(float(one).total_cmp(&float(other)))
        }
        (Value::Text(one), Value::Text(other)) => Ok(one.cmp(other)),
        _ => Err(format!("cannot compare a {} with a {}", one.kind(), other.kind())),
    }
}
