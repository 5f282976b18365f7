//! Conditions, as `circuitBreaker` and `buffering` have them: terms joined by `&&` and `||` (`&&` binds closer) and
//! parentheses. What a term is, the middleware says.

/// Deeper nesting of parentheses is refused.
const DEPTH_MAX: u32 = 50;

/// Terms, and how they are joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition<T> {
    Any(Vec<Self>),
    All(Vec<Self>),
    Term(T),
}

impl<T> Condition<T> {
    /// True where it holds; `is_true` tells of single terms.
    pub(super) fn holds(&self, is_true: &dyn Fn(&T) -> bool) -> bool {
        match self {
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(is_true)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(is_true)),
            Self::Term(term) => is_true(term),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Operator {
    pub(super) fn holds<V: PartialOrd + Copy>(self, left: V, right: V) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

/// A literal. As in Go, `0.5` is a float, `50` an integer, and a text stands in `"` or in backquotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal<'a> {
    Integer(u32),
    Float(f64),
    Text(&'a str),
}

/// Reads a condition; `term` reads one term, from its first character to its last.
pub(super) fn parse<'a, T>(
    text: &'a str,
    term: &mut dyn FnMut(&mut Parser<'a>) -> Result<T, String>,
) -> Result<Condition<T>, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let condition = parser.any(term)?;
    match parser.rest.trim_start() {
        "" => Ok(condition),
        rest => Err(format!("unexpected `{rest}`")),
    }
}

pub(super) struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

type Term<'t, 'a, T> = &'t mut dyn FnMut(&mut Parser<'a>) -> Result<T, String>;

impl<'a> Parser<'a> {
    fn any<T>(&mut self, term: Term<'_, 'a, T>) -> Result<Condition<T>, String> {
        let mut conditions = vec![self.all(term)?];
        while self.eat("||") {
            conditions.push(self.all(term)?);
        }
        Ok(single(conditions, Condition::Any))
    }

    fn all<T>(&mut self, term: Term<'_, 'a, T>) -> Result<Condition<T>, String> {
        let mut conditions = vec![self.one(term)?];
        while self.eat("&&") {
            conditions.push(self.one(term)?);
        }
        Ok(single(conditions, Condition::All))
    }

    fn one<T>(&mut self, term: Term<'_, 'a, T>) -> Result<Condition<T>, String> {
        if !self.eat("(") {
            return term(self).map(Condition::Term);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("too many parentheses".to_owned());
        }
        let inner = self.any(term)?;
        self.depth -= 1;
        self.expect(")")?;
        Ok(inner)
    }

    /// `NAME(LITERALS)`
    pub(super) fn call(&mut self) -> Result<(&'a str, Vec<Literal<'a>>), String> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.eat(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.literal()?);
        }
        Ok((name, arguments))
    }

    pub(super) fn operator(&mut self) -> Result<Operator, String> {
        for (text, operator) in [
            ("<=", Operator::LessOrEqual),
            ("<", Operator::Less),
            (">=", Operator::GreaterOrEqual),
            (">", Operator::Greater),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
        ] {
            if self.eat(text) {
                return Ok(operator);
            }
        }
        Err(self.wanted("a comparison"))
    }

    pub(super) fn literal(&mut self) -> Result<Literal<'a>, String> {
        for quote in ["\"", "`"] {
            if self.eat(quote) {
                let (text, rest) = self
                    .rest
                    .split_once(quote)
                    .filter(|(text, _)| !text.contains('\\'))
                    .ok_or_else(|| "a text has no end, or escapes in it".to_owned())?;
                self.rest = rest;
                return Ok(Literal::Text(text));
            }
        }
        let text = self.word(|c| c.is_ascii_digit() || c == '.');
        let number = if text.contains('.') {
            text.parse().ok().map(Literal::Float)
        } else {
            text.parse().ok().map(Literal::Integer)
        };
        number.ok_or_else(|| self.wanted("a number"))
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest.trim_start();
        let end = start.find(|c| !is_part(c)).unwrap_or(start.len());
        let (word, rest) = start.split_at_checked(end).unwrap_or((start, ""));
        self.rest = rest;
        word
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.wanted(&format!("`{token}`"))) }
    }

    fn wanted(&self, what: &str) -> String {
        format!("{what} is missing before `{}`", self.rest.trim_start())
    }
}

fn single<T>(
    mut conditions: Vec<Condition<T>>,
    join: fn(Vec<Condition<T>>) -> Condition<T>,
) -> Condition<T> {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            join(conditions)
        }
        None => join(conditions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition whose terms are calls without arguments.
    fn names(text: &str) -> Result<Condition<&str>, String> {
        parse(text, &mut |parser| parser.call().map(|(name, _)| name))
    }

    #[test]
    fn and_binds_closer_than_or() {
        let condition = names("A() || B() && (C() || D())").unwrap();
        let holds = |known: &str| condition.holds(&|name| known.contains(name));
        for (true_ones, wanted) in [("A", true), ("B", false), ("BC", true), ("BD", true)] {
            assert_eq!(holds(true_ones), wanted, "{true_ones}");
        }
        assert!(!holds("CD"));
    }

    #[test]
    fn operators_are_those_of_go() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        for (text, wanted) in [
            ("<", &[Less][..]),
            ("<=", &[Less, Equal]),
            (">", &[Greater]),
            (">=", &[Greater, Equal]),
            ("==", &[Equal]),
            ("!=", &[Less, Greater]),
        ] {
            let operator = Parser { rest: text, depth: 0 }.operator().unwrap();
            for (left, order) in [(1, Less), (2, Equal), (3, Greater)] {
                assert_eq!(operator.holds(left, 2), wanted.contains(&order), "{left} {text} 2");
            }
        }
    }

    #[test]
    fn literals_have_kinds() {
        let literal = |rest| Parser { rest, depth: 0 }.literal();
        assert_eq!(literal(" 12"), Ok(Literal::Integer(12)));
        assert_eq!(literal("0.5"), Ok(Literal::Float(0.5)));
        assert_eq!(literal(" \"GET\""), Ok(Literal::Text("GET")));
        assert_eq!(literal("`GET`"), Ok(Literal::Text("GET")));
        for text in ["", "x", "4294967296", "\"GET", "\"a\\n\"", "-1"] {
            assert!(literal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in ["", "A()", "A() &&", "(A()", "A())", "!A()", "A() B()", "A(1 2)", "A("] {
            assert_eq!(names(text).is_ok(), text == "A()", "{text}");
        }
        assert_eq!(names(&"(".repeat(1000)).unwrap_err(), "too many parentheses");
    }
}
