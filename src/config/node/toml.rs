//! TOML to a tree.

use ::toml::de::{DeTable, DeValue};

use super::{DEPTH_MAX, Entry, Kind, Lines, Node, Position, Problem, Value};

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Problem::new(lines.position(start), error.message())
    })?;
    table_node(table.get_ref(), Position::default(), &lines, 1)
}

fn table_node(
    table: &DeTable<'_>,
    position: Position,
    lines: &Lines<'_>,
    depth: usize,
) -> Result<Node, Problem> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let at = lines.position(key.span().start);
        let value_at = lines.position(value.span().start);
        let node = value_node(value.get_ref(), value_at, lines, depth + 1)?;
        entries.push(Entry { key: key.get_ref().to_string(), position: at, node });
    }
    Ok(Node::new(Value::Map(entries), position))
}

fn value_node(
    value: &DeValue<'_>,
    position: Position,
    lines: &Lines<'_>,
    depth: usize,
) -> Result<Node, Problem> {
    if depth > DEPTH_MAX {
        return Err(Problem::too_deep(position));
    }
    let scalar = |text: &str, kind| Ok(Node::scalar(text, kind, position));
    match value {
        DeValue::String(text) => scalar(text, Kind::Text),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => scalar(&number.to_string(), Kind::Number),
            Err(_) => scalar(number.as_str(), Kind::Number),
        },
        DeValue::Float(number) => scalar(number.as_str(), Kind::Number),
        DeValue::Boolean(flag) => scalar(if *flag { "true" } else { "false" }, Kind::Bool),
        DeValue::Datetime(time) => scalar(&time.to_string(), Kind::Text),
        DeValue::Array(items) => {
            let nodes = items.iter().map(|item| {
                let at = lines.position(item.span().start);
                value_node(item.get_ref(), at, lines, depth + 1)
            });
            Ok(Node::new(Value::List(nodes.collect::<Result<_, _>>()?), position))
        }
        DeValue::Table(table) => table_node(table, position, lines, depth),
    }
}
