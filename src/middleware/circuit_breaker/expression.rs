//! The language in which a circuit breaker is told when to trip.
//!
//! `FUNCTION(ARGUMENTS) OPERATOR LITERAL`, joined. As in Go, `0.5` is a float and `50` an integer, and a function wants
//! its own kind.

use super::metrics::Measure;
use crate::middleware::condition::{self, Literal, Operator, Parser};

/// What the expression says of the metrics.
pub(super) type Condition = condition::Condition<Comparison>;

/// Compares what a measure of the list says with a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) measure: usize,
    operator: Operator,
    value: f64,
}

impl Comparison {
    pub(super) fn holds(&self, measured: f64) -> bool {
        self.operator.holds(measured, self.value)
    }
}

/// Reads an expression: its condition, and the measures that it needs.
pub(super) fn parse(text: &str) -> Result<(Condition, Vec<Measure>), String> {
    let mut measures = Vec::new();
    let condition = condition::parse(text, &mut |parser| comparison(parser, &mut measures))?;
    Ok((condition, measures))
}

fn comparison(parser: &mut Parser<'_>, measures: &mut Vec<Measure>) -> Result<Comparison, String> {
    let (name, arguments) = parser.call()?;
    let measure = measure(name, &arguments)?;
    let operator = parser.operator()?;
    let value = match (parser.literal()?, measure.is_integer()) {
        (Literal::Float(value), false) => value,
        (Literal::Integer(value), true) => f64::from(value),
        (_, true) => return Err(format!("{name} is compared with an integer, such as 100")),
        (_, false) => return Err(format!("{name} is compared with a float, such as 0.5")),
    };
    let known = measures.iter().position(|other| *other == measure);
    let measure = known.unwrap_or_else(|| {
        measures.push(measure);
        measures.len() - 1
    });
    Ok(Comparison { measure, operator, value })
}

fn measure(name: &str, arguments: &[Literal<'_>]) -> Result<Measure, String> {
    match (name, arguments) {
        ("NetworkErrorRatio", []) => Ok(Measure::NetworkErrors),
        (
            "ResponseCodeRatio",
            [
                Literal::Integer(from),
                Literal::Integer(to),
                Literal::Integer(divided_from),
                Literal::Integer(divided_to),
            ],
        ) => Ok(Measure::Codes { counted: *from..*to, among: *divided_from..*divided_to }),
        ("LatencyAtQuantileMS", [Literal::Float(quantile)]) => {
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
            condition.holds(&|comparison| {
                comparison.holds(if comparison.measure == 0 { errors } else { latency })
            })
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
