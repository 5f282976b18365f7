//! Tokens to the tree of a template.

use std::collections::HashMap;
use std::vec::IntoIter;

use super::lex::{self, Kind, Piece, Token};
use super::value::Value;

/// Blocks and parentheses in each other.
const DEPTH_MAX: usize = 60;

/// Templates by name; the text itself under the empty one.
pub(super) type Templates = HashMap<String, Vec<Node>>;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
    Template { name: String, argument: Option<Pipeline>, line: usize },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) line: usize,
    /// Variables that take the value.
    pub(super) variables: Vec<String>,
    /// They are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A value and the fields that are taken of it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Literal(Value),
    Pipeline(Pipeline),
}

/// Parses a text and what it defines.
pub(super) fn parse(text: &str) -> Result<Templates, String> {
    let pieces = lex::pieces(text)?;
    let mut parser =
        Parser { pieces: pieces.into_iter(), templates: HashMap::new(), depth: 0, loops: 0 };
    let (nodes, end) = parser.nodes()?;
    if let Some(end) = end {
        return Err(format!("line {}: unexpected `{}`", end.line, end.word));
    }
    parser.templates.insert(String::new(), nodes);
    Ok(parser.templates)
}

struct Parser {
    pieces: IntoIter<Piece>,
    templates: Templates,
    depth: usize,
    loops: usize,
}

/// `end` or `else`, with what stands behind `else`.
struct End {
    word: String,
    line: usize,
    rest: Vec<Token>,
}

impl Parser {
    /// Nodes up to the `end` or `else` that is not theirs.
    fn nodes(&mut self) -> Result<(Vec<Node>, Option<End>), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("blocks too deep in each other".to_owned());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            let word = match tokens.first() {
                Some(Token { kind: Kind::Word(word), .. }) => word.clone(),
                _ => String::new(),
            };
            if matches!(word.as_str(), "end" | "else") {
                self.depth -= 1;
                let rest = tokens.into_iter().skip(1).collect();
                return Ok((nodes, Some(End { word, line, rest })));
            }
            if let Some(node) = self.action(&word, line, tokens)? {
                nodes.push(node);
            }
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn action(
        &mut self,
        word: &str,
        line: usize,
        tokens: Vec<Token>,
    ) -> Result<Option<Node>, String> {
        let rest = || tokens.iter().skip(1).cloned().collect::<Vec<_>>();
        Ok(Some(match word {
            "if" | "with" | "range" => self.block(word, line, rest())?,
            "define" => {
                let (name, _) = named(line, rest())?;
                let nodes = self.until_end(line)?;
                self.templates.insert(name, nodes);
                return Ok(None);
            }
            "block" => {
                let (name, argument) = named(line, rest())?;
                let nodes = self.until_end(line)?;
                self.templates.insert(name.clone(), nodes);
                Node::Template { name, argument, line }
            }
            "template" => {
                let (name, argument) = named(line, rest())?;
                Node::Template { name, argument, line }
            }
            "break" | "continue" if self.loops == 0 => {
                return Err(format!("line {line}: `{word}` outside of `range`"));
            }
            "break" => Node::Break,
            "continue" => Node::Continue,
            _ => Node::Action(pipeline(line, tokens)?),
        }))
    }

    fn until_end(&mut self, line: usize) -> Result<Vec<Node>, String> {
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.nodes()?;
        self.loops = loops;
        match end {
            Some(end) if end.word == "end" => Ok(nodes),
            _ => Err(format!("line {line}: a block without end")),
        }
    }

    fn block(&mut self, word: &str, line: usize, head: Vec<Token>) -> Result<Node, String> {
        let head = pipeline(line, head)?;
        let is_loop = usize::from(word == "range");
        self.loops += is_loop;
        let (then, end) = self.nodes()?;
        self.loops -= is_loop;
        let end = end.ok_or_else(|| format!("line {line}: `{word}` without end"))?;
        let otherwise = if end.word == "else" { self.otherwise(line, end)? } else { Vec::new() };
        Ok(match word {
            "if" => Node::If { condition: head, then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::Range { over: head, each: then, otherwise },
        })
    }

    /// What follows `else`: `if` and `with` share the `end` of the block that they are in.
    fn otherwise(&mut self, line: usize, end: End) -> Result<Vec<Node>, String> {
        let word = match end.rest.first() {
            Some(Token { kind: Kind::Word(word), .. }) => word.clone(),
            _ => String::new(),
        };
        if matches!(word.as_str(), "if" | "with") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("line {line}: too many `else {word}`"));
            }
            let node = self.block(&word, end.line, end.rest.into_iter().skip(1).collect());
            self.depth -= 1;
            return Ok(vec![node?]);
        }
        if !end.rest.is_empty() {
            return Err(format!("line {}: unexpected text behind `else`", end.line));
        }
        let (nodes, end) = self.nodes()?;
        match end {
            Some(end) if end.word == "end" => Ok(nodes),
            _ => Err(format!("line {line}: a block without end")),
        }
    }
}

/// The name of a template, and its argument.
fn named(line: usize, mut tokens: Vec<Token>) -> Result<(String, Option<Pipeline>), String> {
    if tokens.is_empty() {
        return Err(format!("line {line}: a template needs a name"));
    }
    let Kind::Text(name) = tokens.remove(0).kind else {
        return Err(format!("line {line}: the name of a template stands in quotes"));
    };
    let argument = if tokens.is_empty() { None } else { Some(pipeline(line, tokens)?) };
    Ok((name, argument))
}

fn pipeline(line: usize, tokens: Vec<Token>) -> Result<Pipeline, String> {
    let mut tokens = Tokens { left: tokens.into_iter(), peeked: None, depth: 0 };
    let pipeline = tokens.pipeline(line).map_err(|error| format!("line {line}: {error}"))?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(_) => Err(format!("line {line}: unexpected `)`")),
    }
}

struct Tokens {
    left: IntoIter<Token>,
    peeked: Option<Token>,
    depth: usize,
}

impl Tokens {
    fn next(&mut self) -> Option<Token> {
        self.peeked.take().or_else(|| self.left.next())
    }

    fn peek(&mut self) -> Option<&Token> {
        if self.peeked.is_none() {
            self.peeked = self.left.next();
        }
        self.peeked.as_ref()
    }

    fn next_if(&mut self, kind: &Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        if found {
            self.peeked = None;
        }
        found
    }

    /// Up to the end or a `)` that is not its own.
    fn pipeline(&mut self, line: usize) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("parentheses too deep in each other".to_owned());
        }
        let (variables, assigns) = self.variables();
        let mut commands = Vec::new();
        loop {
            let command = self.command(line)?;
            if command.is_empty() {
                return Err("a value is missing".to_owned());
            }
            commands.push(command);
            if !self.next_if(&Kind::Pipe) {
                break;
            }
        }
        self.depth -= 1;
        Ok(Pipeline { line, variables, assigns, commands })
    }

    /// `$a :=`, `$a =` or `$a, $b :=`, if it is there.
    fn variables(&mut self) -> (Vec<String>, bool) {
        let ahead: Vec<Kind> = self
            .peeked
            .iter()
            .chain(self.left.as_slice())
            .take(4)
            .map(|token| token.kind.clone())
            .collect();
        let (variables, assigns, count) = match ahead.as_slice() {
            [Kind::Variable(one), Kind::Declare, ..] => (vec![one.clone()], false, 2),
            [Kind::Variable(one), Kind::Assign, ..] => (vec![one.clone()], true, 2),
            [Kind::Variable(one), Kind::Comma, Kind::Variable(two), Kind::Declare] => {
                (vec![one.clone(), two.clone()], false, 4)
            }
            [Kind::Variable(one), Kind::Comma, Kind::Variable(two), Kind::Assign] => {
                (vec![one.clone(), two.clone()], true, 4)
            }
            _ => return (Vec::new(), false),
        };
        for _ in 0..count {
            self.next();
        }
        (variables, assigns)
    }

    fn command(&mut self, line: usize) -> Result<Vec<Operand>, String> {
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(token) = self.peek() {
            if matches!(token.kind, Kind::Pipe | Kind::Close) {
                break;
            }
            let Some(token) = self.next() else { break };
            let base = match token.kind {
                Kind::Field(name) => match operands.last_mut() {
                    Some(operand) if token.glued => {
                        operand.fields.push(name);
                        continue;
                    }
                    _ => {
                        operands.push(Operand { base: Base::Dot, fields: vec![name] });
                        continue;
                    }
                },
                Kind::Dot => Base::Dot,
                Kind::Variable(name) => Base::Variable(name),
                Kind::Word(word) => match word.as_str() {
                    "true" => Base::Literal(Value::Bool(true)),
                    "false" => Base::Literal(Value::Bool(false)),
                    "nil" => Base::Literal(Value::Nil),
                    _ => Base::Function(word),
                },
                Kind::Text(text) => Base::Literal(Value::text(text)?),
                Kind::Int(number) => Base::Literal(Value::Int(number)),
                Kind::Float(number) => Base::Literal(Value::Float(number)),
                Kind::Open => {
                    let inner = self.pipeline(line)?;
                    if !self.next_if(&Kind::Close) {
                        return Err("`)` is missing".to_owned());
                    }
                    Base::Pipeline(inner)
                }
                Kind::Comma | Kind::Declare | Kind::Assign => {
                    return Err("unexpected `,`, `=` or `:=`".to_owned());
                }
                Kind::Pipe | Kind::Close => break,
            };
            operands.push(Operand { base, fields: Vec::new() });
        }
        Ok(operands)
    }
}
