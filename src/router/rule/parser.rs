//! Reads a rule: `!` binds closer than `&&`, and that closer than `||`. Negation is pushed down to the matchers.

use std::borrow::Cow;
use std::marker::PhantomData;

use super::lexer::{Lexer, Token};
use super::{Asks, RuleError, Syntax, SyntaxError, Tree};
use crate::router::matcher::MatcherError;

/// Limit of nested parentheses.
const DEPTH_MAX: usize = 64;

/// Limit of regular expressions in one rule: each may take a megabyte.
const PATTERNS_MAX: usize = 128;

/// What can make a program long; expressions without are not counted.
const REPEATING: [char; 7] = ['{', '[', '(', '*', '+', '?', '\\'];

/// A mistake, before the rule's text is added.
pub(super) enum Error {
    Syntax(SyntaxError),
    Matcher(String, MatcherError),
}

impl Error {
    pub(super) fn of_rule(self, rule: &str) -> RuleError {
        let rule = rule.to_owned();
        match self {
            Self::Syntax(source) => RuleError::Parse { rule, source },
            Self::Matcher(matcher, source) => RuleError::Matcher { rule, matcher, source },
        }
    }
}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

/// Reads the whole of `text`.
pub(super) fn parse<M: Asks>(text: &str, syntax: Syntax) -> Result<Tree<M>, Error> {
    let mut lexer = Lexer::new(text);
    let (column, token) = lexer.next()?;
    let mut parser = Parser { lexer, token, column, syntax, patterns: 0, asks: PhantomData };
    let tree = parser.alternatives(false, 0)?;
    match parser.token {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected("'EOF', '&&' or '||'").into()),
    }
}

struct Parser<'a, M> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    column: usize,
    syntax: Syntax,
    patterns: usize,
    asks: PhantomData<M>,
}

impl<'a, M: Asks> Parser<'a, M> {
    /// Terms between `||`. Under a negation they become terms between `&&`.
    fn alternatives(&mut self, negated: bool, depth: usize) -> Result<Tree<M>, Error> {
        let mut terms = vec![self.conjunction(negated, depth)?];
        while self.token == Token::Or {
            self.advance()?;
            terms.push(self.conjunction(negated, depth)?);
        }
        Ok(if negated { Tree::all(terms) } else { Tree::any(terms) })
    }

    /// Terms between `&&`, the other way round under a negation.
    fn conjunction(&mut self, negated: bool, depth: usize) -> Result<Tree<M>, Error> {
        let mut terms = vec![self.term(negated, depth)?];
        while self.token == Token::And {
            self.advance()?;
            terms.push(self.term(negated, depth)?);
        }
        Ok(if negated { Tree::any(terms) } else { Tree::all(terms) })
    }

    /// A matcher or a group, with the `!` before it.
    fn term(&mut self, mut negated: bool, depth: usize) -> Result<Tree<M>, Error> {
        while self.token == Token::Not {
            negated = !negated;
            self.advance()?;
        }
        if let Token::Name(name) = self.token {
            return self.matcher(name, negated);
        }
        if self.token != Token::Open {
            return Err(self.unexpected("operand").into());
        }
        if depth >= DEPTH_MAX {
            return Err(SyntaxError::TooDeep { column: self.column, max: DEPTH_MAX }.into());
        }
        self.advance()?;
        let tree = self.alternatives(negated, depth + 1)?;
        self.expect(&Token::Close, "')'")?;
        Ok(tree)
    }

    fn matcher(&mut self, name: &'a str, negated: bool) -> Result<Tree<M>, Error> {
        let definition = M::find(name, self.syntax)
            .ok_or_else(|| SyntaxError::UnsupportedFunction(name.to_owned()))?;
        self.advance()?;
        self.expect(&Token::Open, "'('")?;
        let arguments = self.arguments()?;
        if definition.is_pattern {
            self.patterns += arguments.iter().filter(|text| text.contains(REPEATING)).count();
            if self.patterns > PATTERNS_MAX {
                return Err(SyntaxError::TooManyPatterns { max: PATTERNS_MAX }.into());
            }
        }
        let tree = definition
            .build(&arguments)
            .map_err(|error| Error::Matcher(definition.name.to_owned(), error))?;
        Ok(if negated { tree.negated() } else { tree })
    }

    /// String literals up to the closing parenthesis; as in Go, a comma may stand before it.
    fn arguments(&mut self) -> Result<Vec<Cow<'a, str>>, Error> {
        let mut arguments = Vec::new();
        while self.token != Token::Close {
            match self.advance()? {
                (_, Token::Text(text)) => arguments.push(text),
                (column, token) => {
                    let (expected, found) = ("string literal or ')'", token.describe());
                    return Err(SyntaxError::Unexpected { column, expected, found }.into());
                }
            }
            if self.token != Token::Close {
                self.expect(&Token::Comma, "',' or ')' in argument list")?;
            }
        }
        self.advance()?;
        Ok(arguments)
    }

    /// Steps on; returns the word that was left and its column.
    fn advance(&mut self) -> Result<(usize, Token<'a>), SyntaxError> {
        let (column, token) = self.lexer.next()?;
        let left = std::mem::replace(&mut self.token, token);
        Ok((std::mem::replace(&mut self.column, column), left))
    }

    fn expect(&mut self, token: &Token<'_>, expected: &'static str) -> Result<(), SyntaxError> {
        if self.token != *token {
            return Err(self.unexpected(expected));
        }
        self.advance()?;
        Ok(())
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        SyntaxError::Unexpected { column: self.column, expected, found: self.token.describe() }
    }
}
