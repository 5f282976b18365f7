//! Startup configuration from files, flags and the environment.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::load::LoadError;
use super::*;
use crate::config::value::Duration;

/// Loads from files, flags and variables that exist in memory only.
fn loaded(
    files: &[(&str, &str)],
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Loaded, LoadError> {
    let files: BTreeMap<&Path, &str> =
        files.iter().map(|(path, t)| (Path::new(path), *t)).collect();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let environment: Vec<(String, String)> =
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let read = |path: &Path| match files.get(path) {
        Some(text) => Ok(text.to_string()),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    load(&Inputs { arguments: &arguments, environment: &environment, read: &read })
}

fn yaml(text: &str) -> Result<Loaded, LoadError> {
    loaded(&[("traefik.yml", text)], &["--configFile=traefik.yml"], &[])
}

fn refusal(text: &str) -> String {
    yaml(text).unwrap_err().to_string()
}

#[test]
fn a_file_wins_over_flags_and_flags_over_the_environment() {
    let file = ("./traefik.yml", "log: {level: INFO}");
    let variables = [("TRAEFIK_LOG_LEVEL", "TRACE")];
    let level = |loaded: &Loaded| loaded.startup.log.clone().unwrap().level;

    let all = loaded(&[file], &["--log.level=DEBUG"], &variables).unwrap();
    assert_eq!((level(&all).as_str(), all.origin), ("INFO", Origin::File("./traefik.yml".into())));
    assert_eq!(all.warnings, ["flags are ignored: the configuration is that of ./traefik.yml"]);

    let without_file = loaded(&[], &["--log.level=DEBUG"], &variables).unwrap();
    assert_eq!((level(&without_file).as_str(), without_file.origin), ("DEBUG", Origin::Flags));

    let variables_only = loaded(&[], &[], &variables).unwrap();
    assert_eq!(level(&variables_only), "TRACE");
    assert_eq!(variables_only.origin, Origin::Environment);

    assert_eq!(loaded(&[], &[], &[("PATH", "/bin")]).unwrap().origin, Origin::Defaults);
}

#[test]
fn files_are_looked_for_in_traefiks_folders() {
    let home = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/xdg")];
    let all = [
        "/etc/traefik/traefik.toml",
        "/xdg/traefik.yaml",
        "/home/u/.config/traefik.yml",
        "./traefik.yml",
    ];
    for first in 0..all.len() {
        let files: Vec<(&str, &str)> = all[first..].iter().map(|path| (*path, "")).collect();
        assert_eq!(loaded(&files, &[], &home).unwrap().origin, Origin::File(all[first].into()));
    }
    let both = [("./pontoon.yml", ""), ("./traefik.yml", "")];
    assert_eq!(loaded(&both, &[], &[]).unwrap().origin, Origin::File("./pontoon.yml".into()));
}

#[test]
fn a_named_file_must_be_there_and_does_not_count_as_a_flag() {
    let files = [("x.toml", "[ping]\n")];
    let named = loaded(&files, &["--configFile=x.toml"], &[]).unwrap();
    assert!(named.startup.ping.is_some() && named.warnings.is_empty());
    let named = loaded(&files, &["-configfile", "x.toml"], &[]).unwrap();
    assert!(named.startup.ping.is_some());
    let missing = loaded(&[], &["--configFile=y.toml"], &[]).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read the configuration file y.toml"));
    let odd = loaded(&[("x.conf", "")], &["--configFile=x.conf"], &[]).unwrap_err();
    assert!(matches!(odd, LoadError::Format(_)));
}

#[test]
fn unknown_roots_are_ignored_in_files_and_variables_but_not_in_flags() {
    assert!(yaml("http: {routers: {a: {rule: x}}}\nfoo: 1\nping: {}\n").is_ok());
    assert!(loaded(&[], &[], &[("TRAEFIK_FOO_BAR", "1")]).is_ok());
    let flag = loaded(&[], &["--foo.bar=1"], &[]).unwrap_err();
    assert!(flag.to_string().contains("field not found, node: foo"), "{flag}");
    let nested = refusal("entryPoints:\n  web:\n    adress: ':80'\n");
    assert_eq!(
        nested,
        "traefik.yml:3:5: entryPoints.web: field not found, node: adress; did you mean `address`?\n     \
         3 |     adress: ':80'"
    );
    let variable = loaded(&[], &[], &[("TRAEFIK_PING_FOO", "1")]).unwrap_err();
    assert_eq!(
        variable.to_string(),
        "environment:1:1: ping: field not found, node: foo\n     1 | TRAEFIK_PING_FOO"
    );
}

#[test]
fn flags_and_variables_reach_every_kind_of_value() {
    let by_flags = loaded(
        &[],
        &[
            "--entrypoints.Web.address=:80",
            "--entryPoints.web.transport.respondingTimeouts.readTimeout=42",
            "--entrypoints.web.http.tls.domains[0].main=a.test",
            "--entrypoints.web.http.tls.domains[0].sans=b.test,c.test",
            "--entrypoints.web.forwardedheaders.trustedips=10.0.0.0/8",
            "--entrypoints.web.forwardedheaders.trustedips=127.0.0.1",
            "--api",
            "--api.dashboard=false",
            "--metrics.prometheus.buckets=0.5,1",
            "--accesslog=true",
            "--ping=false",
        ],
        &[],
    )
    .unwrap()
    .startup;
    let by_variables = loaded(
        &[],
        &[],
        &[
            ("TRAEFIK_ENTRYPOINTS_WEB_ADDRESS", ":80"),
            ("TRAEFIK_ENTRYPOINTS_WEB_TRANSPORT_RESPONDINGTIMEOUTS_READTIMEOUT", "42s"),
            ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS_DOMAINS_0_MAIN", "a.test"),
            ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS_DOMAINS_0_SANS", "b.test,c.test"),
            ("TRAEFIK_ENTRYPOINTS_WEB_FORWARDEDHEADERS_TRUSTEDIPS", "10.0.0.0/8,127.0.0.1"),
            ("TRAEFIK_API", "true"),
            ("PONTOON_API_DASHBOARD", "false"),
            ("TRAEFIK_METRICS_PROMETHEUS_BUCKETS", "0.5,1"),
            ("TRAEFIK_ACCESSLOG", "true"),
            ("TRAEFIK_PING", "false"),
        ],
    )
    .unwrap()
    .startup;
    assert_eq!(by_flags, by_variables);
    let web = &by_flags.entry_points["web"];
    assert_eq!(web.transport.responding_timeouts.read_timeout, Duration::from_secs(42));
    assert_eq!(web.http.tls.as_ref().unwrap().domains[0].sans, ["b.test", "c.test"]);
    assert_eq!(web.forwarded_headers.trusted_ips, ["10.0.0.0/8", "127.0.0.1"]);
    assert!(!by_flags.api.as_ref().unwrap().dashboard && by_flags.ping.is_none());
    assert_eq!(by_flags.metrics.unwrap().prometheus.unwrap().buckets, [0.5, 1.0]);
    assert!(by_flags.access_log.is_some());
}

#[test]
fn entry_points_are_added_as_traefik_adds_them() {
    let names = |text: &str| {
        let startup = yaml(text).unwrap().startup;
        let all = startup.entry_points.iter().map(|(name, e)| format!("{name}={}", e.address));
        all.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(""), "http=:80");
    assert_eq!(names("entryPoints: {traefik: {address: ':9'}}"), "traefik=:9");
    assert_eq!(names("api: {insecure: true}"), "http=:80 traefik=:8080");
    assert_eq!(names("api: {}"), "http=:80");
    assert_eq!(names("ping: {}"), "http=:80 traefik=:8080");
    assert_eq!(names("ping: {manualRouting: true}"), "http=:80");
    assert_eq!(names("ping: {entryPoint: http}"), "http=:80");
    assert_eq!(names("metrics: {prometheus: {}}"), "http=:80 traefik=:8080");
    assert_eq!(names("providers: {rest: {insecure: true}}"), "http=:80 traefik=:8080");
    let own = "ping: {}\nentryPoints: {web: {address: ':1'}, traefik: {address: ':2'}}";
    assert_eq!(names(own), "traefik=:2 web=:1");
}

#[test]
fn removed_options_are_refused_and_deprecated_ones_warned_of() {
    for text in [
        "pilot: {token: x}",
        "providers: {marathon: {}}",
        "providers: {docker: {swarmMode: true}}",
        "providers: {consulCatalog: {endpoint: {tls: {caOptional: true}}}}",
        "providers: {nomad: {namespace: a}}",
        "tracing: {jaeger: {}}",
    ] {
        assert!(refusal(text).contains("the option has been removed"), "{text}");
    }
    assert!(loaded(&[], &["--pilot.token=x"], &[]).unwrap_err().to_string().contains("removed"));
    let warned = yaml("core: {defaultRuleSyntax: v2}\nexperimental: {http3: true}\n").unwrap();
    assert_eq!(warned.warnings.len(), 2);
}

#[test]
fn values_that_cannot_work_are_refused() {
    for (text, reason) in [
        ("certificatesResolvers: {a: {acme: {}, tailscale: {}}}", "exclude each other"),
        ("certificatesResolvers: {a: {acme: {storage: ''}}}", "acme.storage: cannot be empty"),
        ("providers: {knative: {}}", "needs `experimental.knative`"),
        ("log: {otlp: {}}", "log.otlp: needs `experimental.otlpLogs`"),
        ("accessLog: {otlp: {}}", "accessLog.otlp: needs `experimental.otlpLogs`"),
        ("tracing: {otlp: {grpc: {insecure: true, tls: {}}}}", "`tls` and `insecure`"),
        ("metrics: {otlp: {grpc: {insecure: true, tls: {}}}}", "`tls` and `insecure`"),
        ("api: {basePath: 'a'}", "api.basePath"),
        ("api: {basePath: '/a b'}", "api.basePath"),
        ("api: {writable: true}", "needs `api.tokenFile`"),
        ("providers: {precedence: [file, nope]}", "unknown provider `nope`"),
        ("core: {defaultRuleSyntax: v4}", "neither `v2` nor `v3`"),
        (
            "providers: {kubernetesIngressNGINX: {watchNamespace: a, watchNamespaceSelector: b}}",
            "exclude",
        ),
        ("providers: {file: {watch: true}}", "one of `filename` and `directory`"),
        (
            "entryPoints: {a: {address: ':1', http: {underscoreHeadersStrategy: x}}}",
            "is not one of keep",
        ),
        ("entryPoints: {a: {address: ':1/sctp'}}", "invalid protocol: sctp"),
        ("entryPoints: {a: {}}", "has no port"),
        ("cluster: {secret: x, advertise: 'h:1'}", "cluster.dataDir: is required"),
        ("cluster: {dataDir: d, advertise: 'h:1'}", "exactly one of `secret` and `secretFile`"),
        ("cluster: {dataDir: d, secret: x}", "cluster.address: `:7300` is nothing"),
        ("cluster: {dataDir: d, secret: x, advertise: '[::]:1'}", "cluster.advertise"),
        (
            "cluster: {dataDir: d, secret: x, advertise: 'h:1', initialPeers: {a: b}, join: [c]}",
            "exclude",
        ),
        (
            "cluster: {dataDir: d, secret: x, advertise: 'h:1', electionTimeout: 1ms}",
            "electionTimeout",
        ),
    ] {
        let message = refusal(text);
        assert!(message.contains(reason), "{text}: {message}");
    }
    assert!(yaml("cluster: {dataDir: d, secret: x, advertise: 'h:1', join: [c]}").is_ok());
}

#[test]
fn what_is_not_built_is_listed_by_key() {
    let text = "entryPoints: {web: {address: ':1', http3: {}, allowACMEByPass: true}, dns: {address: ':53/udp'}}\n\
                providers: {docker: {}, file: {filename: a}}\ntracing: {}\nmetrics: {prometheus: {}}\n\
                log: {maxSize: 5}\ncertificatesResolvers: {le: {acme: {}}}\n";
    let keys = not_built(&yaml(text).unwrap().startup);
    let expected = ["certificatesResolvers", "providers.docker", "entryPoints.web.allowACMEByPass"];
    assert_eq!(keys, expected);
    assert_eq!(not_built(&yaml("").unwrap().startup), [""; 0]);
}

/// static.md §10, `api.debug`; §11, `experimental.fastProxy`.
#[test]
fn what_is_without_effect_is_named() {
    let keys = |text: &str| not_built(&yaml(text).unwrap().startup);
    assert!(keys("api: {}").is_empty());
    assert_eq!(keys("api: {debug: true}"), ["api.debug"]);
    assert_eq!(keys("experimental: {fastProxy: {}}"), ["experimental.fastProxy"]);
}

/// static.md §3, `http.redirections.entryPoint.to`.
#[test]
fn a_redirection_to_nowhere_is_named() {
    let warnings = |to: &str| {
        let redirections = format!("{{redirections: {{entryPoint: {{to: '{to}'}}}}}}");
        let text = format!("entryPoints: {{web: {{address: ':80', http: {redirections}}}}}");
        yaml(&text).unwrap().warnings
    };
    assert_eq!((warnings(":443"), warnings("web")), (Vec::new(), Vec::new()));
    for unknown in ["websecure", ":x", "443"] {
        assert_eq!(
            warnings(unknown),
            [format!(
                "entryPoints.web.http.redirections.entryPoint: 'to' entry point field references a non-existing \
                 entry point: {unknown}"
            )]
        );
    }
}

/// static.md §3, `http3`.
#[test]
fn http3_beside_udp_is_named() {
    let warnings = |address: &str| {
        let text = format!("entryPoints: {{a: {{address: '{address}', http3: {{}}}}}}");
        yaml(&text).unwrap().warnings
    };
    assert_eq!(warnings(":443"), [""; 0]);
    let udp = warnings(":443/udp");
    assert_eq!(udp, ["entryPoints.a.http3: has no effect on an entry point for UDP"]);
}

#[test]
fn old_addresses_of_lets_encrypt_are_replaced() {
    let text = "certificatesResolvers: {a: {acme: {caServer: 'https://acme-v01.api.letsencrypt.org/directory'}}}";
    let startup = yaml(text).unwrap().startup;
    let acme = startup.certificates_resolvers["a"].acme.as_ref().unwrap();
    assert_eq!(acme.ca_server, "https://acme-v02.api.letsencrypt.org/directory");
}

#[test]
fn secrets_are_not_shown() {
    let text = "cluster: {dataDir: d, secret: hush, advertise: 'h:1'}\nproviders: {redis: {password: hush}}";
    let startup = yaml(text).unwrap().startup;
    assert!(!format!("{startup:?}").contains("hush"));
}

proptest! {
    #[test]
    fn no_flags_panic(arguments in prop::collection::vec("--?[a-z.\\[\\]0-9=]{0,24}|\\PC{0,12}", 0..4)) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let _outcome = loaded(&[], &arguments, &[]);
    }

    #[test]
    fn a_configuration_written_as_json_comes_back(level in "[A-Z]{1,5}", seconds in 0_i64..100_000, web in "[a-z]{1,6}") {
        let text = format!(
            "log: {{level: {level}}}\nproviders: {{providersThrottleDuration: {seconds}}}\n\
             entryPoints: {{'{web}': {{address: ':80', http: {{tls: {{}}}}}}}}\nmetrics: {{influxDB2: {{}}, statsD: {{}}}}\n"
        );
        let startup = yaml(&text).unwrap().startup;
        let json = serde_json::to_vec(&startup).unwrap();
        prop_assert_eq!(crate::config::decode::json::<Startup>(&json).unwrap(), startup);
    }
}
