//! `/api/overview`: counters (api.md §5).

use serde_json::{Value, json};

use super::{Facts, certificates};
use crate::compile::{Status, Streams};
use crate::control::follow::InForce;

fn count(statuses: impl Iterator<Item = Status>) -> Value {
    let (mut total, mut warnings, mut errors) = (0, 0, 0);
    for status in statuses {
        total += 1;
        match status {
            Status::Enabled => {}
            Status::Warning => warnings += 1,
            Status::Disabled => errors += 1,
        }
    }
    json!({ "total": total, "warnings": warnings, "errors": errors })
}

pub(super) fn of(now: &InForce, facts: &Facts) -> Value {
    let report = &now.compiled.report;
    let Streams { tcp, udp, .. } = &*report.streams;
    let certificates = certificates::all(&now.compiled.certificates);
    let certificates = count(certificates.iter().map(|one| match one["status"].as_str() {
        Some("warning") => Status::Warning,
        Some("expired") => Status::Disabled,
        _ => Status::Enabled,
    }));
    let mut overview = json!({
        "http": {
            "routers": count(report.routers.iter().map(|(_, one)| one.status)),
            "services": count(report.services.values().map(|one| one.object.status)),
            "middlewares": count(report.middlewares.values().map(|one| one.status)),
        },
        "tcp": {
            "routers": count(tcp.routers.values().map(|one| one.report.status)),
            "services": count(tcp.services.values().map(|one| one.object.status)),
            "middlewares": count(tcp.middlewares.values().map(|one| one.status)),
        },
        "udp": {
            "routers": count(udp.routers.values().map(|one| one.status)),
            "services": count(udp.services.values().map(|one| one.status)),
        },
        "certificates": certificates,
        "features": facts.features,
    });
    if let Some(fields) = overview.as_object_mut().filter(|_| !facts.providers.is_empty()) {
        fields.insert("providers".to_owned(), json!(facts.providers));
    }
    overview
}
