//! The language in which a circuit breaker is told when to trip.
//!
//! `FUNCTION(ARGUMENTS) OPERATOR LITERAL`, joined by `&&` and `||` (`&&` binds closer) and parentheses. As in Go, `0.5`
//! is a float and `50` an integer, and a function wants its own kind.

use super::metrics::Measure;

/// What the expression says of the metrics.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    /// Compares what a measure of the list says with a value.
    Compare {
        measure: usize,
        operator: Operator,
        value: f64,
    },
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
    #[expect(clippy::float_cmp, reason = "what the user wrote, as Traefik compares it")]
    fn holds(self, left: f64, right: f64) -> bool {
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

impl Condition {
    /// True where it holds; `value_of` tells what a measure says now.
    pub(super) fn holds(&self, value_of: &dyn Fn(usize) -> f64) -> bool {
        match self {
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(value_of)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(value_of)),
            Self::Compare { measure, operator, value } => {
                operator.holds(value_of(*measure), *value)
            }
        }
    }
}

/// Reads an expression: its condition, and the measures that it needs.
pub(super) fn parse(text: &str) -> Result<(Condition, Vec<Measure>), String> {
    let mut parser = Parser { rest: text, measures: Vec::new(), depth: 0 };
    let condition = parser.any()?;
    if !parser.rest.trim_start().is_empty() {
        return Err(format!("unexpected `{}`", parser.rest.trim_start()));
    }
    Ok((condition, parser.measures))
}

/// Deeper nesting of parentheses is refused.
const DEPTH_MAX: u32 = 50;

struct Parser<'a> {
    rest: &'a str,
    measures: Vec<Measure>,
    depth: u32,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(u32),
    Float(f64),
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Condition, String> {
        let mut conditions = vec![self.all()?];
        while self.eat("||") {
            conditions.push(self.all()?);
        }
        Ok(single(conditions, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut conditions = vec![self.one()?];
        while self.eat("&&") {
            conditions.push(self.one()?);
        }
        Ok(single(conditions, Condition::All))
    }

    fn one(&mut self) -> Result<Condition, String> {
        if !self.eat("(") {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("too many parentheses".to_owned());
        }
        let inner = self.any()?;
        self.depth -= 1;
        self.expect(")")?;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.eat(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.number()?);
        }
        let measure = measure(name, &arguments)?;
        let operator = self.operator()?;
        let value = match (self.number()?, measure.is_integer()) {
            (Number::Float(value), false) => value,
            (Number::Integer(value), true) => f64::from(value),
            (_, true) => return Err(format!("{name} is compared with an integer, such as 100")),
            (_, false) => return Err(format!("{name} is compared with a float, such as 0.5")),
        };
        let known = self.measures.iter().position(|other| *other == measure);
        let index = known.unwrap_or_else(|| {
            self.measures.push(measure);
            self.measures.len() - 1
        });
        Ok(Condition::Compare { measure: index, operator, value })
    }

    fn operator(&mut self) -> Result<Operator, String> {
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

    fn number(&mut self) -> Result<Number, String> {
        let text = self.word(|c| c.is_ascii_digit() || c == '.');
        let number = if text.contains('.') {
            text.parse().ok().map(Number::Float)
        } else {
            text.parse().ok().map(Number::Integer)
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

fn single(mut conditions: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            join(conditions)
        }
        None => join(conditions),
    }
}

fn measure(name: &str, arguments: &[Number]) -> Result<Measure, String> {
    match (name, arguments) {
        ("NetworkErrorRatio", []) => Ok(Measure::NetworkErrors),
        (
            "ResponseCodeRatio",
            [
                Number::Integer(from),
                Number::Integer(to),
                Number::Integer(divided_from),
                Number::Integer(divided_to),
            ],
        ) => Ok(Measure::Codes { counted: *from..*to, among: *divided_from..*divided_to }),
        ("LatencyAtQuantileMS", [Number::Float(quantile)]) => {
            Ok(Measure::Latency { quantile: *quantile })
        }
        ("NetworkErrorRatio", _) => Err("NetworkErrorRatio takes no arguments".to_owned()),
        ("ResponseCodeRatio", _) => {
            Err("ResponseCodeRatio takes four integers, such as (500, 600, 0, 600)".to_owned())
        }
        ("LatencyAtQuantileMS", _) => {
            Err("LatencyAtQuantileMS takes one float, such as 50.0".to_owned())
        }
        _ => Err(format!("unsupported function: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn and_binds_closer_than_or() {
        let text = "NetworkErrorRatio() > 0.5 || NetworkErrorRatio() == 0.1 && (LatencyAtQuantileMS(50.0) >= 100)";
        let (condition, measures) = parse(text).unwrap();
        assert_eq!(measures, [Measure::NetworkErrors, Measure::Latency { quantile: 50.0 }]);
        let holds = |errors: f64, latency: f64| {
            condition.holds(&|measure| if measure == 0 { errors } else { latency })
        };
        assert!(holds(0.6, 0.0));
        assert!(holds(0.1, 100.0));
        assert!(!holds(0.1, 99.0));
        assert!(!holds(0.5, 500.0));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "NetworkErrorRatio()",
            "NetworkErrorRatio() > 1",
            "NetworkErrorRatio() > 0.5 &&",
            "NetworkErrorRatio(1) > 0.5",
            "LatencyAtQuantileMS(50) > 100",
            "LatencyAtQuantileMS(50.0) > 100.0",
            "ResponseCodeRatio(500, 600) > 0.5",
            "!(NetworkErrorRatio() > 0.5)",
            "0.5 < NetworkErrorRatio()",
            "Latency() > 0.5",
            "(NetworkErrorRatio() > 0.5",
            "NetworkErrorRatio() > 0.5)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let nested = "(".repeat(1000);
        assert_eq!(parse(&nested).unwrap_err(), "too many parentheses");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[NetworkErrorRatio()<>=!&|0-9., ]{0,60}") {
            let _parsed = parse(&text);
        }
    }
}
