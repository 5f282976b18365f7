//! Runs a template.

use super::functions;
use super::parse::{Base, Node, Operand, Pipeline, Templates};
use super::value::Value;

/// Bytes that a template may give.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// Bytes of all values that it makes.
const VALUE_BYTES_MAX: usize = 256 << 20;
/// Nodes and operands that it runs.
const STEPS_MAX: usize = 5_000_000;
/// Blocks, parentheses and templates in each other.
const DEPTH_MAX: usize = 150;

/// Runs the template with the empty name. Its `.` is empty, as it is in Traefik.
pub(super) fn execute(templates: &Templates) -> Result<String, String> {
    let mut run = Run {
        templates,
        out: String::new(),
        variables: vec![(String::new(), Value::Bool(false))],
        steps: 0,
        bytes: 0,
        depth: 0,
    };
    if let Some(nodes) = templates.get("") {
        run.nodes(nodes, &Value::Bool(false))?;
    }
    Ok(run.out)
}

struct Run<'a> {
    templates: &'a Templates,
    out: String,
    /// The last one of a name counts.
    variables: Vec<(String, Value)>,
    steps: usize,
    bytes: usize,
    depth: usize,
}

#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Run<'_> {
    /// A block: its variables end with it.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        self.enter()?;
        let outside = self.variables.len();
        let mut flow = Flow::Next;
        for node in nodes {
            self.step()?;
            flow = self.node(node, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.variables.truncate(outside);
        self.depth -= 1;
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => {
                if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
                    return Err(format!("more than {OUTPUT_BYTES_MAX} bytes of output"));
                }
                self.out.push_str(text);
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    value.print(&mut self.out, OUTPUT_BYTES_MAX)?;
                }
            }
            Node::If { condition, then, otherwise } => {
                let outside = self.variables.len();
                let holds = self.pipeline(condition, dot)?.is_true();
                let flow = self.nodes(if holds { then } else { otherwise }, dot)?;
                self.variables.truncate(outside);
                return Ok(flow);
            }
            Node::With { value, then, otherwise } => {
                let outside = self.variables.len();
                let value = self.pipeline(value, dot)?;
                let flow = if value.is_true() {
                    self.nodes(then, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                };
                self.variables.truncate(outside);
                return Ok(flow);
            }
            Node::Range { over, each, otherwise } => return self.range(over, each, otherwise, dot),
            Node::Template { name, argument, line } => {
                self.template(name, argument.as_ref(), *line, dot)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        over: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, String> {
        let value = self.commands(over, dot)?;
        let members: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::List(list) => {
                let numbered = (0_i64..).zip(&list.members);
                Box::new(numbered.map(|(number, member)| (Value::Int(number), member.clone())))
            }
            Value::Map(map) => Box::new(
                map.members
                    .iter()
                    .map(|(name, member)| (Value::Text(name.as_str().into()), member.clone())),
            ),
            Value::Int(count) => {
                Box::new((0..*count).map(|number| (Value::Int(number), Value::Int(number))))
            }
            Value::Nil => Box::new(std::iter::empty()),
            _ => return Err(format!("line {}: cannot range over a {}", over.line, value.kind())),
        };
        let outside = self.variables.len();
        let mut any = false;
        for (key, member) in members {
            self.step()?;
            any = true;
            match over.variables.as_slice() {
                [value] => self.set(value, member.clone(), over)?,
                [name, value] => {
                    self.set(name, key, over)?;
                    self.set(value, member.clone(), over)?;
                }
                _ => {}
            }
            let flow = self.nodes(each, &member)?;
            self.variables.truncate(outside);
            if flow == Flow::Break {
                break;
            }
        }
        if any { Ok(Flow::Next) } else { self.nodes(otherwise, dot) }
    }

    fn template(
        &mut self,
        name: &str,
        argument: Option<&Pipeline>,
        line: usize,
        dot: &Value,
    ) -> Result<(), String> {
        let templates = self.templates;
        let nodes = templates
            .get(name)
            .filter(|_| !name.is_empty())
            .ok_or_else(|| format!("line {line}: template `{name}` is not defined"))?;
        let argument = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        // A template sees its argument, and no variables of others.
        let outside =
            std::mem::replace(&mut self.variables, vec![(String::new(), argument.clone())]);
        let result = self.nodes(nodes, &argument);
        self.variables = outside;
        result.map(|_flow| ())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        match pipeline.variables.as_slice() {
            [] => {}
            [name] => self.set(name, value.clone(), pipeline)?,
            _ => return Err(format!("line {}: only `range` gives two variables", pipeline.line)),
        }
        Ok(value)
    }

    /// The value of a pipeline, without its variables.
    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        self.enter()?;
        let mut last = None;
        for command in &pipeline.commands {
            let value = self.command(command, last, dot).map_err(|error| {
                if error.starts_with("line ") {
                    error
                } else {
                    format!("line {}: {error}", pipeline.line)
                }
            })?;
            last = Some(value);
        }
        self.depth -= 1;
        Ok(last.unwrap_or(Value::Nil))
    }

    fn set(&mut self, name: &str, value: Value, pipeline: &Pipeline) -> Result<(), String> {
        if !pipeline.assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        let (_, place) =
            known.ok_or_else(|| format!("line {}: undefined variable `${name}`", pipeline.line))?;
        *place = value;
        Ok(())
    }

    fn command(
        &mut self,
        command: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, arguments)) = command.split_first() else { return Ok(Value::Nil) };
        let Base::Function(name) = &first.base else {
            if !arguments.is_empty() || last.is_some() {
                return Err("arguments for something that is not a function".to_owned());
            }
            return self.operand(first, dot);
        };
        let stops_at = match name.as_str() {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            let value = self.operand(argument, dot)?;
            if stops_at == Some(value.is_true()) {
                return Ok(value);
            }
            values.push(value);
        }
        values.extend(last);
        let value = self.call(name, &values)?;
        fields(value, &first.fields)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        self.step()?;
        let value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| format!("undefined variable `${name}`"))?.1.clone()
            }
            Base::Function(name) => self.call(name, &[])?,
            Base::Literal(value) => value.clone(),
            Base::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        };
        fields(value, &operand.fields)
    }

    fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let value = functions::call(name, arguments).map_err(|error| format!("{name}: {error}"))?;
        self.bytes += value.cost();
        if self.bytes > VALUE_BYTES_MAX {
            return Err(format!("more than {VALUE_BYTES_MAX} bytes of values"));
        }
        Ok(value)
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS_MAX { Err(format!("more than {STEPS_MAX} steps")) } else { Ok(()) }
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err("too deep; does a template use itself?".to_owned())
        } else {
            Ok(())
        }
    }
}

fn fields(value: Value, names: &[String]) -> Result<Value, String> {
    let mut value = value;
    for name in names {
        value = match &value {
            Value::Map(map) => map.members.get(name).cloned().unwrap_or(Value::Nil),
            Value::Nil => Value::Nil,
            _ => return Err(format!("a {} has no field `{name}`", value.kind())),
        };
    }
    Ok(value)
}
