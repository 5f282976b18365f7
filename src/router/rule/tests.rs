//! The rule language.

use proptest::prelude::*;

use super::*;
use crate::router::target::testing::get;

fn matches(rule: &str, host: &str, uri: &str) -> bool {
    Rule::parse(rule, Syntax::V3).unwrap().matches(&get(host, uri).target())
}

fn error(rule: &str) -> String {
    Rule::parse(rule, Syntax::V3).unwrap_err().to_string()
}

#[test]
fn not_binds_closer_than_and_and_that_closer_than_or() {
    let rule = "Host(`a`) || Host(`b`) && !Path(`/x`)";
    assert!(matches(rule, "a", "/x"));
    assert!(matches(rule, "b", "/"));
    assert!(!matches(rule, "b", "/x"));
    let rule = "(Host(`a`) || Host(`b`)) && !Path(`/x`)";
    assert!(!matches(rule, "a", "/x"));
}

#[test]
fn negation_is_pushed_down() {
    let rule = "!(Host(`a`) && (Path(`/x`) || !Path(`/y`)))";
    assert!(matches(rule, "b", "/x"));
    assert!(!matches(rule, "a", "/x"));
    assert!(matches(rule, "a", "/y"));
    assert!(!matches(rule, "a", "/z"));
    assert!(matches("!!Host(`a`)", "a", "/"));
    assert!(!matches("!!!Host(`a`)", "a", "/"));
}

#[test]
fn white_space_and_trailing_commas_are_as_in_go() {
    assert!(matches(" Host ( `a` ,\n) &&\tPath(`/x`)\n", "a", "/x"));
}

#[test]
fn string_literals_are_those_of_go() {
    for (literal, host) in [
        (r#""a.test""#, "a.test"),
        (r#""a\x2etest""#, "a.test"),
        (r#""a\056test""#, "a.test"),
        (r#""a\u002etest""#, "a.test"),
        (r#""a\U0000002etest""#, "a.test"),
        ("`a.\rtest`", "a.test"),
    ] {
        assert!(matches(&format!("Host({literal})"), host, "/"), "{literal}");
    }
    assert!(matches(r#"HostRegexp("^a\\.b$")"#, "a.b", "/"));
    assert!(matches(r"HostRegexp(`^a\.b$`)", "a.b", "/"));
    assert!(matches(r#"Path("/\"\t\a\b\f\n\r\v\\")"#, "h", "/%22%09%07%08%0c%0a%0d%0b%5c"));
    assert!(matches(r#"Path("/\xc3\xa9")"#, "h", "/%c3%a9"));
}

#[test]
fn errors_name_the_rule_and_the_place() {
    for (rule, message) in [
        ("", "1:1: expected operand, found 'EOF'"),
        ("Host(`a`", "1:9: expected ',' or ')' in argument list, found 'EOF'"),
        ("Host(`a", "1:6: raw string literal not terminated"),
        ("Host(\"a", "1:6: string literal not terminated"),
        ("Host(\"a\nb\")", "1:6: string literal not terminated"),
        (r#"Host("\q")"#, "1:6: unknown escape sequence"),
        (r#"Host("\'")"#, "1:6: unknown escape sequence"),
        (r#"Host("\xff")"#, "1:6: string literal is not UTF-8"),
        ("Host('a')", "1:6: expected a matcher, an operator or a parenthesis, found '\\''"),
        ("Host(a)", "1:6: expected string literal or ')', found a"),
        ("Host", "1:5: expected '(', found 'EOF'"),
        (
            "Host(`a`) & Path(`/`)",
            "1:11: expected a matcher, an operator or a parenthesis, found '&'",
        ),
        ("Host(`a`) Path(`/`)", "1:11: expected 'EOF', '&&' or '||', found Path"),
        ("Host(`a`) &&", "1:13: expected operand, found 'EOF'"),
        ("(Host(`a`)", "1:11: expected ')', found 'EOF'"),
        ("Host(`a`))", "1:10: expected 'EOF', '&&' or '||', found ')'"),
        ("Hosts(`a`)", "unsupported function: Hosts"),
    ] {
        assert_eq!(error(rule), format!("error while parsing rule {rule}: {message}"), "{rule}");
    }
    for (rule, message) in [
        ("Host()", "no args for matcher Host"),
        ("Host(``)", "empty args for matcher Host"),
        ("Host(`a`, `b`)", "unexpected number of parameters; got 2, expected one of [1]"),
    ] {
        let start = format!("error while adding rule {rule}: error while adding rule Host: ");
        assert_eq!(error(rule), start + message, "{rule}");
    }
}

#[test]
fn depth_and_size_are_limited() {
    for depth in [65, 100_000] {
        let rule = format!("{}Host(`a`){}", "(".repeat(depth), ")".repeat(depth));
        assert!(error(&rule).ends_with("1:65: nested deeper than 64 levels"));
    }
    assert!(error(&"!(".repeat(100_000)).contains("nested deeper"));
    assert!(!matches(&format!("{}Host(`a`)", "!".repeat(200_001)), "a", "/"));
    let rule = vec!["PathRegexp(`a*`)"; 129].join(" || ");
    assert!(error(&rule).ends_with("more than 128 regular expressions"));
    let rule = vec!["Host(`a`)"; 10_000].join(" || ");
    assert!(matches(&rule, "a", "/"));
    assert!(error(&"é".repeat(200_000)).ends_with("…: longer than 262144 bytes"));
}

#[test]
fn hosts_are_those_not_negated() {
    let rule = "Host(`A.test.`) && (Host(`*.b`) || !(Path(`/`) && Host(`c`))) && !Host(`d`) && Host(`a.test`)";
    assert_eq!(Rule::parse(rule, Syntax::V3).unwrap().hosts(), ["a.test", "*.b"]);
    assert_eq!(Rule::parse("!(!Host(`a`))", Syntax::V3).unwrap().hosts(), ["a"]);
    assert_eq!(Rule::parse("Host(`a`, `b`)", Syntax::V2).unwrap().hosts(), ["a", "b"]);
}

#[test]
fn syntax_is_the_routers_or_the_default() {
    assert_eq!(Syntax::of("", Syntax::V2), Syntax::V2);
    assert_eq!(Syntax::of("v2", Syntax::V3), Syntax::V2);
    assert_eq!(Syntax::of("v3", Syntax::V2), Syntax::V3);
    assert_eq!(Syntax::of("default", Syntax::V2), Syntax::V3);
}

#[test]
fn rules_stay_small() {
    assert!(size_of::<Tree>() <= 40, "{}", size_of::<Tree>());
}

proptest! {
    #[test]
    fn any_text_is_a_rule_or_an_error(text in "\\PC{0,60}") {
        let _parsed = Rule::parse(&text, Syntax::V3);
        let _parsed = Rule::parse(&text, Syntax::V2);
    }

    #[test]
    fn words_in_any_order_are_a_rule_or_an_error(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "Host", "Path", "(", ")", "`a`", "\"/\\x41\"", "`/{a:b}`", "&&", "||", "!", ",", " ",
                "Query", "`a=b`", "ClientIP", "`::1/8`", "PathRegexp", "Headers", "HostRegexp",
            ]),
            0..24,
        ),
    ) {
        let text = words.concat();
        for syntax in [Syntax::V3, Syntax::V2] {
            if let Ok(rule) = Rule::parse(&text, syntax) {
                rule.matches(&get("a", "/a?a=b").target());
            }
        }
    }
}
