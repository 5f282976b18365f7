//! What templates of the file provider give, and what they refuse.

use super::render;

fn rendered(text: &str) -> String {
    render("dynamic.yml", text.to_owned()).unwrap()
}

fn error(text: &str) -> String {
    render("dynamic.yml", text.to_owned()).unwrap_err()
}

#[test]
fn a_text_without_actions_stays() {
    assert_eq!(rendered("http: {}\n"), "http: {}\n");
}

#[test]
fn routers_come_from_a_list() {
    let text = r#"{{- $domain := "example.org" }}
http:
  routers:
{{- range $i, $name := list "api" "web" }}
    {{ $name }}:
      rule: Host(`{{ $name }}.{{ $domain }}`)
      service: {{ $name | quote }}
      priority: {{ add $i 1 }}
{{- end }}
"#;
    let expected = "\nhttp:\n  routers:\n    api:\n      rule: Host(`api.example.org`)\n      service: \
                    \"api\"\n      priority: 1\n    web:\n      rule: Host(`web.example.org`)\n      \
                    service: \"web\"\n      priority: 2\n";
    assert_eq!(rendered(text), expected);
}

#[test]
fn certificates_come_from_a_range_of_numbers() {
    let text = "{{ range $i, $e := until 3 }}\n[[tls.certificates]]\ncertFile = \"/c/{{ $e }}.pem\"\n{{ end }}";
    assert_eq!(rendered(text).matches("[[tls.certificates]]").count(), 3);
    assert!(rendered(text).contains("/c/2.pem"));
}

#[test]
fn blocks_behave_as_in_go() {
    for (text, expected) in [
        ("{{ if and true (gt 3 2) }}a{{ else if false }}b{{ else }}c{{ end }}", "a"),
        ("{{ if false }}a{{ else if eq 1 2 1 }}b{{ else }}c{{ end }}", "b"),
        ("{{ range list }}x{{ else }}none{{ end }}", "none"),
        ("{{ range list 1 2 }}{{ . }}{{ else }}none{{ end }}", "12"),
        ("{{ range $k, $v := dict \"b\" 2 \"a\" 1 }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        (
            "{{ range until 9 }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if eq . 4 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "013",
        ),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}", "2"),
        ("{{ with dict \"a\" (dict \"b\" 7) }}{{ .a.b }}{{ end }}", "7"),
        ("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" \"v\" }}", "<v>"),
        ("a {{- /* no */ -}} b", "ab"),
        ("{{ \"}}\" }}{{ `{{` }}{{ \"\\u00e9\" }}", "}}{{é"),
        ("{{ (dict \"a\" 1).a }}{{ (index (list 5 6) 1) }}", "16"),
        ("{{ or \"\" \"b\" }}{{ and 1 0 }}{{ not true }}", "b0false"),
    ] {
        assert_eq!(rendered(text), expected, "{text}");
    }
}

#[test]
fn functions_behave_as_in_sprig() {
    for (text, expected) in [
        ("{{ env \"PONTOON_NO_SUCH_VARIABLE\" | default \"d\" }}", "d"),
        ("{{ ternary \"a\" \"b\" true }}{{ coalesce \"\" 0 \"c\" }}", "ac"),
        ("{{ title \"ab cd\" }}{{ upper \"x\" }}{{ trimSuffix \".org\" \"a.org\" }}", "Ab CdXa"),
        ("{{ range split \"a,b\" \",\" }}[{{ . }}]{{ end }}", "[a][b]"),
        ("{{ splitList \",\" \"a,b\" | join \"-\" }}", "a-b"),
        ("{{ replace \".\" \"-\" \"a.b.c\" | quote }}{{ squote 1 }}", "\"a-b-c\"'1'"),
        ("{{ normalize \"foo.bar/ baz\" }}", "foo-bar-baz"),
        ("{{ indent 2 \"a\\nb\" }}|{{ nindent 1 \"c\" }}", "  a\n  b|\n c"),
        ("{{ substr 1 3 \"abcd\" }}{{ trunc 2 \"xyz\" }}{{ trunc -2 \"xyz\" }}", "bcxyyz"),
        ("{{ seq 3 }};{{ seq 5 -2 1 }};{{ untilStep 0 6 2 }}", "1 2 3;5 3 1;[0 2 4]"),
        ("{{ div 7 2 }}{{ mod 7 2 }}{{ max 1 5 3 }}{{ sub 1 3 }}{{ mul 2 3 }}", "315-26"),
        ("{{ b64enc \"hi\" }}{{ b64dec \"aGk=\" }}", "aGk=hi"),
        ("{{ sha256sum \"\" | trunc 8 }}", "e3b0c442"),
        ("{{ toJson (dict \"a\" (list 1 \"x\" true)) }}", "{\"a\":[1,\"x\",true]}"),
        ("{{ kindOf 1 }} {{ kindOf \"\" }} {{ kindOf (list) }}", "int string slice"),
        (
            "{{ regexMatch \"^a+$\" \"aa\" }}{{ regexReplaceAll \"(b)\" \"abc\" \"<${1}>\" }}",
            "truea<b>c",
        ),
        (
            "{{ printf \"%s-%03d-%q-%.1f|%-3s|%%\" \"a\" 7 \"q\" 1.25 \"x\" }}",
            "a-007-\"q\"-1.2|x  |%",
        ),
        (
            "{{ has 2 (list 1 2) }}{{ uniq (list 1 1 2) }}{{ hasKey (dict \"a\" 1) \"b\" }}",
            "true[1 2]false",
        ),
        (
            "{{ cat \"a\" 1 }}{{ len \"abc\" }}{{ first (list 8 9) }}{{ rest (list 8 9) }}",
            "a 138[9]",
        ),
    ] {
        assert_eq!(rendered(text), expected, "{text}");
    }
}

#[test]
fn errors_name_the_file_and_the_line() {
    for (text, expected) in [
        ("a\n{{ if }}", "dynamic.yml: template: line 2: a value is missing"),
        ("{{ if true }}", "dynamic.yml: template: line 1: `if` without end"),
        ("\n\n{{ fail \"no\" }}", "dynamic.yml: template: line 3: fail: no"),
        ("{{ nope 1 }}", "dynamic.yml: template: line 1: nope: there is no such function"),
        ("{{ $x }}", "dynamic.yml: template: line 1: undefined variable `$x`"),
        ("{{ required \"need it\" \"\" }}", "dynamic.yml: template: line 1: required: need it"),
        ("{{ end }}", "dynamic.yml: template: line 1: unexpected `end`"),
        ("{{ \"a", "dynamic.yml: template: line 1: an action without end"),
        ("{{ div 1 0 }}", "dynamic.yml: template: line 1: div: division by zero"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn bombs_are_refused() {
    for text in [
        "{{ repeat 100000000 \"aaaaaaaaaaaaaaaa\" }}",
        "{{ until 1000000000 }}",
        "{{ $a := \"aaaaaaaa\" }}{{ range until 100 }}{{ $a = cat $a $a }}{{ end }}",
        "{{ $a := list 1 }}{{ range until 100 }}{{ $a = list $a $a }}{{ end }}",
        "{{ $a := list 1 }}{{ range until 30 }}{{ $a = list $a $a }}{{ end }}{{ $a }}",
        "{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}",
        "{{ range 1000000000 }}{{ end }}",
        "{{ $t := repeat 1000000 \"a\" }}{{ range 100 }}{{ $t }}{{ end }}",
        &"{{ if true }}".repeat(10_000),
        &format!("{{{{ {} }}}}", "(".repeat(10_000)),
    ] {
        assert!(error(text).starts_with("dynamic.yml: template: "));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(\{\{-? ?|-?\}\}| |\(|\)|\||\$x|:=|\.a|"|if|range|end|else|list|1|'|`|é){0,24}"#) {
        drop(render("f", text));
    }
}
