//! Functions of lists and maps.

use std::collections::{BTreeMap, HashSet};

use super::{Arguments, Value, int, members, same, shown};

/// Lists.
pub(super) fn call(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    let list = || arguments.list(0);
    Ok(Some(match name {
        "list" | "tuple" => Value::list(arguments.0.to_vec())?,
        "first" => list()?.first().cloned().unwrap_or(Value::Nil),
        "last" => list()?.last().cloned().unwrap_or(Value::Nil),
        "rest" => Value::list(list()?.iter().skip(1).cloned().collect())?,
        "initial" => {
            let list = list()?;
            Value::list(list.iter().take(list.len().saturating_sub(1)).cloned().collect())?
        }
        "reverse" => Value::list(list()?.iter().rev().cloned().collect())?,
        "compact" => {
            Value::list(list()?.iter().filter(|value| value.is_true()).cloned().collect())?
        }
        "append" | "push" => {
            Value::list(list()?.iter().chain([arguments.get(1)?]).cloned().collect())?
        }
        "prepend" => {
            Value::list([arguments.get(1)?].into_iter().chain(list()?).cloned().collect())?
        }
        "concat" => {
            let lists = arguments.0.iter().map(members).collect::<Result<Vec<_>, _>>()?;
            Value::list(lists.concat())?
        }
        "without" => {
            let gone = arguments.0.get(1..).unwrap_or_default();
            if gone.len() > 1000 {
                return Err("more than 1000 values to leave out".to_owned());
            }
            let left = list()?.iter().filter(|value| !gone.iter().any(|gone| same(value, gone)));
            Value::list(left.cloned().collect())?
        }
        "uniq" => {
            let mut seen = HashSet::new();
            let mut left = Vec::new();
            for value in list()? {
                if seen.insert((value.kind(), shown(value)?)) {
                    left.push(value.clone());
                }
            }
            Value::list(left)?
        }
        "sortAlpha" => {
            let mut texts = list()?.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
            texts.sort();
            Value::texts(texts)?
        }
        _ => return Ok(None),
    }))
}

/// What is in lists and other values.
pub(super) fn looks(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    Ok(Some(match name {
        "has" => {
            let wanted = arguments.get(0)?;
            arguments.list(1)?.iter().any(|value| same(value, wanted)).into()
        }
        "join" => {
            let texts = match arguments.get(1)? {
                Value::List(list) => {
                    list.members.iter().map(shown).collect::<Result<Vec<_>, _>>()?
                }
                other => vec![shown(other)?],
            };
            Value::text(texts.join(&arguments.text(0)?))?
        }
        "slice" => slice(arguments)?,
        "index" => {
            let mut value = arguments.get(0)?.clone();
            for key in arguments.0.iter().skip(1) {
                value = member(&value, key)?;
            }
            value
        }
        "len" => Value::Int(
            i64::try_from(match arguments.get(0)? {
                Value::Text(text) => text.len(),
                Value::List(list) => list.members.len(),
                Value::Map(map) => map.members.len(),
                other => return Err(format!("a {} has no length", other.kind())),
            })
            .unwrap_or(i64::MAX),
        ),
        _ => return Ok(None),
    }))
}

/// Maps.
pub(super) fn maps(name: &str, arguments: &Arguments<'_>) -> Result<Option<Value>, String> {
    let map = |place: usize| match arguments.get(place)? {
        Value::Map(map) => Ok(&map.members),
        other => Err(format!("a {} is not a map", other.kind())),
    };
    Ok(Some(match name {
        "dict" => {
            let mut members = BTreeMap::new();
            for pair in arguments.0.chunks(2) {
                let [key, value] = pair else { return Err("a key without value".to_owned()) };
                members.insert(shown(key)?, value.clone());
            }
            Value::map(members)?
        }
        "get" => map(0)?.get(&arguments.text(1)?).cloned().unwrap_or(Value::text("")?),
        "hasKey" => map(0)?.contains_key(&arguments.text(1)?).into(),
        "keys" => Value::texts(map(0)?.keys())?,
        "values" => Value::list(map(0)?.values().cloned().collect())?,
        "set" => {
            let mut members = map(0)?.clone();
            members.insert(arguments.text(1)?, arguments.get(2)?.clone());
            Value::map(members)?
        }
        "unset" => {
            let mut members = map(0)?.clone();
            members.remove(&arguments.text(1)?);
            Value::map(members)?
        }
        "merge" => {
            // The first one that has a key wins.
            let mut members = BTreeMap::new();
            for place in (0..arguments.0.len()).rev() {
                members.extend(map(place)?.clone());
            }
            Value::map(members)?
        }
        _ => return Ok(None),
    }))
}

fn slice(arguments: &Arguments<'_>) -> Result<Value, String> {
    let wrong = || "out of range".to_owned();
    let start = if arguments.0.len() > 1 { arguments.size(1)? } else { 0 };
    let end = if arguments.0.len() > 2 { Some(arguments.size(2)?) } else { None };
    match arguments.get(0)? {
        Value::Text(text) => {
            Value::text(text.get(start..end.unwrap_or(text.len())).ok_or_else(wrong)?)
        }
        value => {
            let list = members(value)?;
            Value::list(list.get(start..end.unwrap_or(list.len())).ok_or_else(wrong)?.to_vec())
        }
    }
}

fn member(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::Map(map) => Ok(map.members.get(&shown(key)?).cloned().unwrap_or(Value::Nil)),
        value => {
            let place = usize::try_from(int(key)).ok();
            let found = place.and_then(|place| members(value).ok()?.get(place).cloned());
            match members(value) {
                Ok(_) => found.ok_or_else(|| format!("index {} is out of range", int(key))),
                Err(error) => Err(error),
            }
        }
    }
}
