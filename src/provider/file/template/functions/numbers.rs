//! Functions of numbers.

use super::{Arguments, Value, float, int};
use crate::provider::file::template::value::MEMBERS_MAX;

pub(super) fn call(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    let numbers = || arguments.0.iter().map(int);
    let overflow = || "the result is too large".to_owned();
    let pair = || Ok::<_, String>((arguments.int(0)?, arguments.int(1)?));
    Ok(Some(Value::Int(match name {
        "int" | "int64" | "atoi" => arguments.int(0)?,
        "add" => numbers().try_fold(0_i64, i64::checked_add).ok_or_else(overflow)?,
        "add1" => arguments.int(0)?.checked_add(1).ok_or_else(overflow)?,
        "mul" => numbers().try_fold(1_i64, i64::checked_mul).ok_or_else(overflow)?,
        "sub" => {
            let (one, other) = pair()?;
            one.checked_sub(other).ok_or_else(overflow)?
        }
        "div" | "mod" => {
            let (one, other) = pair()?;
            let result =
                if name == "div" { one.checked_div(other) } else { one.checked_rem(other) };
            result.ok_or_else(|| "division by zero".to_owned())?
        }
        "max" => numbers().max().ok_or("needs an argument")?,
        "min" => numbers().min().ok_or("needs an argument")?,
        "float64" => return Ok(Some(Value::Float(float(arguments.get(0)?)))),
        "floor" => return Ok(Some(Value::Float(float(arguments.get(0)?).floor()))),
        "ceil" => return Ok(Some(Value::Float(float(arguments.get(0)?).ceil()))),
        "until" => {
            let end = arguments.int(0)?;
            return steps(0, end, if end < 0 { -1 } else { 1 }).and_then(Value::list).map(Some);
        }
        "untilStep" => {
            let (start, end) = pair()?;
            return steps(start, end, arguments.int(2)?).and_then(Value::list).map(Some);
        }
        "seq" => return seq(arguments).map(Some),
        _ => return Ok(None),
    })))
}

/// From `start` up to, but not with, `end`.
fn steps(start: i64, end: i64, step: i64) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    let mut next = start;
    while (step > 0 && next < end) || (step < 0 && next > end) {
        if values.len() == MEMBERS_MAX {
            return Err(format!("more than {MEMBERS_MAX} numbers"));
        }
        values.push(Value::Int(next));
        let Some(following) = next.checked_add(step) else { break };
        next = following;
    }
    Ok(values)
}

/// `seq LAST`, `seq FIRST LAST`, `seq FIRST STEP LAST`: a text of numbers, as the shell's.
fn seq(arguments: &Arguments<'_>) -> Result<Value, String> {
    let (first, step, last) = match arguments.0 {
        [last] => (1, None, int(last)),
        [first, last] => (int(first), None, int(last)),
        [first, step, last] => (int(first), Some(int(step)), int(last)),
        _ => return Err("needs one to three numbers".to_owned()),
    };
    let step = step.unwrap_or(if last < first { -1 } else { 1 });
    let numbers = steps(first, last.saturating_add(step.signum()), step)?;
    let texts: Vec<String> = numbers.iter().map(|number| int(number).to_string()).collect();
    Value::text(texts.join(" "))
}
