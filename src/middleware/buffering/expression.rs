//! The language in which `buffering` is told when to try a request again.
//!
//! `Attempts()`, `ResponseCode()` and `RequestMethod()`, compared with a literal, and `IsNetworkError()`.

use ::http::{Method, StatusCode};

use crate::middleware::condition::{self, Literal, Operator, Parser};

/// What has to be true for another try.
pub(super) type Condition = condition::Condition<Term>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    /// How often the request has been tried.
    Attempts(Operator, u32),
    ResponseCode(Operator, u32),
    /// 502 or 504.
    IsNetworkError,
    RequestMethod {
        wanted: bool,
        method: String,
    },
}

/// What an expression is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'a> {
    pub(super) attempts: u32,
    pub(super) status: StatusCode,
    pub(super) method: &'a Method,
}

impl Term {
    pub(super) fn holds(&self, outcome: Outcome<'_>) -> bool {
        match self {
            Self::Attempts(operator, value) => operator.holds(outcome.attempts, *value),
            Self::ResponseCode(operator, value) => {
                operator.holds(u32::from(outcome.status.as_u16()), *value)
            }
            Self::IsNetworkError => {
                matches!(outcome.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
            }
            Self::RequestMethod { wanted, method } => {
                (outcome.method == method.as_str()) == *wanted
            }
        }
    }
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Condition, String> {
    condition::parse(text, &mut term)
}

fn term(parser: &mut Parser<'_>) -> Result<Term, String> {
    let (name, arguments) = parser.call()?;
    if !matches!(name, "Attempts" | "ResponseCode" | "RequestMethod" | "IsNetworkError") {
        return Err(format!("unsupported function: {name}"));
    }
    if !arguments.is_empty() {
        return Err(format!("{name} takes no arguments"));
    }
    if name == "IsNetworkError" {
        return Ok(Term::IsNetworkError);
    }
    let operator = parser.operator()?;
    match (name, parser.literal()?, operator) {
        ("Attempts", Literal::Integer(value), _) => Ok(Term::Attempts(operator, value)),
        ("ResponseCode", Literal::Integer(value), _) => Ok(Term::ResponseCode(operator, value)),
        ("RequestMethod", Literal::Text(method), Operator::Equal) => {
            Ok(Term::RequestMethod { wanted: true, method: method.to_owned() })
        }
        ("RequestMethod", Literal::Text(method), Operator::NotEqual) => {
            Ok(Term::RequestMethod { wanted: false, method: method.to_owned() })
        }
        ("RequestMethod", ..) => {
            Err("RequestMethod is compared by == or != with a text, such as \"GET\"".to_owned())
        }
        (name, ..) => Err(format!("{name} is compared with an integer, such as 2")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(text: &str, attempts: u32, status: u16, method: &Method) -> bool {
        let status = StatusCode::from_u16(status).unwrap();
        let condition = parse(text).unwrap();
        condition.holds(&|term| term.holds(Outcome { attempts, status, method }))
    }

    #[test]
    fn terms_are_true_where_they_should_be() {
        let get = &Method::GET;
        assert!(holds("Attempts() <= 2", 2, 200, get));
        assert!(!holds("Attempts() <= 2", 3, 200, get));
        assert!(holds("ResponseCode() == 503", 1, 503, get));
        assert!(!holds("ResponseCode() == 503", 1, 502, get));
        for (status, wanted) in [(502, true), (504, true), (503, false), (500, false)] {
            assert_eq!(holds("IsNetworkError()", 1, status, get), wanted, "{status}");
        }
        assert!(holds("RequestMethod() == \"GET\"", 1, 200, get));
        assert!(!holds("RequestMethod() != `GET`", 1, 200, get));
    }

    #[test]
    fn terms_can_be_joined() {
        let text = "IsNetworkError() && Attempts() < 3 || (ResponseCode() >= 500 && RequestMethod() == \"PUT\")";
        assert!(holds(text, 2, 502, &Method::GET));
        assert!(!holds(text, 3, 502, &Method::GET));
        assert!(holds(text, 3, 500, &Method::PUT));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "Attempts()",
            "Attempts() < 0.5",
            "Attempts() < \"2\"",
            "Attempts(1) < 2",
            "RequestMethod() == 1",
            "RequestMethod() < \"GET\"",
            "IsNetworkError() == 1",
            "!IsNetworkError()",
            "Latency() > 1",
            "2 > Attempts()",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[AttempsRquodMhINwkE()<>=!&|0-9.,\"` ]{0,60}") {
            let _parsed = parse(&text);
        }
    }
}
