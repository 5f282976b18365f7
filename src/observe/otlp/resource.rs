//! Who tells: the resource of all messages.
//!
//! Traefik's order: what is found out, the options, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`; later ones win.
//! Differs: of the container and of Kubernetes nothing is found out.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;

use super::text;

/// The resource by its options and the environment.
pub(in crate::observe) fn resource(name: &str, attributes: &BTreeMap<String, String>) -> Resource {
    made(name, attributes, &|variable| std::env::var(variable).ok())
}

fn made(
    name: &str,
    attributes: &BTreeMap<String, String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Resource {
    let mut all = found();
    all.insert("service.name".to_owned(), name.to_owned());
    all.insert("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    all.extend(attributes.clone());
    let more = environment("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    for (key, value) in more.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        all.insert(key.trim().to_owned(), value);
    }
    if let Some(name) = environment("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        all.insert("service.name".to_owned(), name);
    }
    let attributes = all.into_iter().map(|(key, value)| text(key, value));
    Resource { attributes: attributes.collect(), ..Default::default() }
}

/// What is known of the process and its machine.
fn found() -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([
        ("os.type".to_owned(), std::env::consts::OS.to_owned()),
        ("process.pid".to_owned(), std::process::id().to_string()),
        ("telemetry.sdk.language".to_owned(), "rust".to_owned()),
        ("telemetry.sdk.name".to_owned(), "pontoon".to_owned()),
        ("telemetry.sdk.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        found.insert("host.name".to_owned(), host.trim().to_owned());
    }
    if let Ok(program) = std::env::current_exe()
        && let Some(name) = program.file_name()
    {
        found.insert("process.executable.name".to_owned(), name.to_string_lossy().into_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    fn value(resource: &Resource, key: &str) -> Option<String> {
        let found = resource.attributes.iter().filter(|one| one.key == key).collect::<Vec<_>>();
        assert!(found.len() <= 1, "{key} stands there once");
        match found.first()?.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn later_sources_win() {
        let options = BTreeMap::from([
            ("service.version".to_owned(), "7".to_owned()),
            ("region".to_owned(), "north".to_owned()),
        ]);
        let environment = |variable: &str| match variable {
            "OTEL_RESOURCE_ATTRIBUTES" => Some("region=so%20uth, zone=b,odd".to_owned()),
            _ => None,
        };
        let resource = made("edge", &options, &environment);
        for (key, expected) in [
            ("service.name", "edge"),
            ("service.version", "7"),
            ("region", "so uth"),
            ("zone", "b"),
            ("telemetry.sdk.name", "pontoon"),
        ] {
            assert_eq!(value(&resource, key).as_deref(), Some(expected), "{key}");
        }
        let named = made("edge", &options, &|name| {
            (name == "OTEL_SERVICE_NAME").then(|| "other".to_owned())
        });
        assert_eq!(value(&named, "service.name").as_deref(), Some("other"));
    }
}
