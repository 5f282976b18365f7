//! Routers, services and middlewares as the API shows them (api.md §3): their options and what became of them, in
//! one flat object.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::compile::{
    ObjectReport, Report, RouterReport, ServiceReport, StreamServiceReport, Streams,
};

type Fields = Map<String, Value>;

/// All objects of a kind, complete; `None` for a kind that does not exist.
pub(super) fn all(report: &Report, protocol: &str, kind: &str) -> Option<Vec<Value>> {
    Some(match (protocol, kind) {
        ("http", "routers") => {
            let routers = report.routers.iter();
            routers.map(|(name, one)| with_priority(http_router(name, one), name, one)).collect()
        }
        ("tcp", "routers") => {
            let routers = report.streams.tcp.routers.iter().map(|(name, one)| (name, &one.report));
            routers.map(|(name, one)| with_priority(stream_router(one), name, one)).collect()
        }
        ("udp", "routers") => {
            let routers = report.streams.udp.routers.iter();
            let without = |name, one: &RouterReport<_>| {
                let mut fields = stream_router(one);
                fields.remove("priority");
                complete(fields, name, "")
            };
            routers.map(|(name, one)| without(name, one)).collect()
        }
        ("http", "services") => {
            let services = report.services.iter();
            services.map(|(name, one)| complete(service(one), name, &service_type(one))).collect()
        }
        ("tcp", "services") => {
            let services = report.streams.tcp.services.iter();
            let kind = |one: &StreamServiceReport| kind_of(&*one.object.options);
            services.map(|(name, one)| complete(stream_service(one), name, &kind(one))).collect()
        }
        ("udp", "services") => objects(report.streams.udp.services.iter()),
        ("http", "middlewares") => {
            let middlewares = report.middlewares.iter();
            middlewares
                .map(|(name, one)| complete(object(one), name, &one.options.type_name()))
                .collect()
        }
        ("tcp", "middlewares") => objects(report.streams.tcp.middlewares.iter()),
        _ => return None,
    })
}

/// `/api/rawdata`: maps by qualified name, empty ones left out.
pub(super) fn rawdata(report: &Report) -> Value {
    let mut all = Fields::new();
    let mut add = |key: &str, map: Fields| {
        if !map.is_empty() {
            all.insert(key.to_owned(), Value::Object(map));
        }
    };
    add("routers", raw(report.routers.iter().map(|(name, one)| (name, http_router(name, one)))));
    add("middlewares", raw(report.middlewares.iter().map(|(name, one)| (name, object(one)))));
    add("services", raw(report.services.iter().map(|(name, one)| (name, service(one)))));
    let Streams { tcp, udp, .. } = &*report.streams;
    let tcp_routers = tcp.routers.iter().map(|(name, one)| (name, stream_router(&one.report)));
    add("tcpRouters", raw(tcp_routers));
    add("tcpMiddlewares", raw(tcp.middlewares.iter().map(|(name, one)| (name, object(one)))));
    add("tcpServices", raw(tcp.services.iter().map(|(name, one)| (name, stream_service(one)))));
    add("udpRouters", raw(udp.routers.iter().map(|(name, one)| (name, stream_router(one)))));
    add("udpServices", raw(udp.services.iter().map(|(name, one)| (name, object(one)))));
    Value::Object(all)
}

fn raw<'a>(objects: impl Iterator<Item = (&'a Arc<str>, Fields)>) -> Fields {
    objects.map(|(name, fields)| (name.to_string(), Value::Object(fields))).collect()
}

fn fields(options: &impl Serialize) -> Fields {
    match serde_json::to_value(options) {
        Ok(Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

fn http_router(name: &str, report: &RouterReport) -> Fields {
    router(&report.in_force(name), report)
}

fn stream_router<O: Serialize>(report: &RouterReport<O>) -> Fields {
    router(&*report.options, report)
}

fn router<O: Serialize>(options: &O, report: &RouterReport<O>) -> Fields {
    let mut fields = fields(options);
    if report.priority != 0 {
        fields.insert("priority".to_owned(), json!(report.priority));
    }
    fields.insert("status".to_owned(), json!(report.status));
    if !report.using.is_empty() {
        fields.insert("using".to_owned(), json!(report.using));
    }
    if !report.errors.is_empty() {
        fields.insert("error".to_owned(), json!(report.errors));
    }
    fields
}

fn with_priority<O>(mut fields: Fields, name: &str, report: &RouterReport<O>) -> Value {
    fields.insert("priorityStr".to_owned(), json!(report.priority.to_string()));
    complete(fields, name, "")
}

fn object<O: Serialize>(report: &ObjectReport<O>) -> Fields {
    let mut fields = fields(&*report.options);
    fields.insert("status".to_owned(), json!(report.status));
    if !report.used_by.is_empty() {
        fields.insert("usedBy".to_owned(), json!(report.used_by.keys().collect::<Vec<_>>()));
    }
    if !report.errors.is_empty() {
        fields.insert("error".to_owned(), json!(report.errors));
    }
    fields
}

fn objects<'a, O: Serialize + 'a>(
    all: impl Iterator<Item = (&'a Arc<str>, &'a ObjectReport<O>)>,
) -> Vec<Value> {
    all.map(|(name, report)| complete(object(report), name, &kind_of(&*report.options))).collect()
}

/// The type of an object that has exactly one key for it.
fn kind_of(options: &impl Serialize) -> String {
    fields(options).keys().next().map(|kind| kind.to_lowercase()).unwrap_or_default()
}

fn service(report: &ServiceReport) -> Fields {
    let statuses = report.built.as_ref().map(|service| service.server_statuses());
    with_statuses(object(&report.object), statuses.unwrap_or_default())
}

fn stream_service(report: &StreamServiceReport) -> Fields {
    let statuses = report.built.as_ref().map(|service| service.server_statuses());
    with_statuses(object(&report.object), statuses.unwrap_or_default())
}

fn with_statuses(mut fields: Fields, statuses: Vec<(Arc<str>, bool)>) -> Fields {
    let statuses: Fields = statuses
        .into_iter()
        .map(|(url, up)| (url.to_string(), json!(if up { "UP" } else { "DOWN" })))
        .collect();
    if !statuses.is_empty() {
        fields.insert("serverStatus".to_owned(), Value::Object(statuses));
    }
    fields
}

fn service_type(report: &ServiceReport) -> String {
    let kinds = report.object.options.kinds();
    kinds.first().map(|kind| kind.to_lowercase()).unwrap_or_default()
}

/// Adds what lists and details show beside rawdata.
fn complete(mut fields: Fields, name: &str, kind: &str) -> Value {
    let provider = name.rsplit_once('@').map_or("", |(_, provider)| provider);
    fields.insert("name".to_owned(), json!(name));
    fields.insert("provider".to_owned(), json!(provider));
    if !kind.is_empty() {
        fields.insert("type".to_owned(), json!(kind));
    }
    Value::Object(fields)
}
