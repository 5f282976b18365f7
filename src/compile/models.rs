//! What entry points add to the routers on them (http.md §2).
//!
//! Traefik makes a model of an entry point that says something of its routers; a router on several entry points becomes
//! one for each that has a model, and one for the others.

use std::collections::HashSet;
use std::sync::Arc;

use super::report::Status;
use super::routers::{Context, Draft};
use super::tls::DEFAULT;
use super::{Model, Settings};
use crate::config::text::Text;
use crate::router::options::{Observability, Options};

/// One draft for a router, or one for each entry point whose model changes it.
pub(super) fn draft(
    context: &Context<'_>,
    provider: &Arc<str>,
    (name, origin): (&str, &Arc<str>),
    options: &Arc<Options>,
) -> Vec<Draft> {
    let settings = context.settings;
    let layered = !options.parent_refs.is_empty();
    let mut entry_points = if options.entry_points.is_empty() && !layered {
        default_entry_points(settings).into_iter().map(Text::from).collect()
    } else {
        options.entry_points.to_vec()
    };
    let mut seen = HashSet::new();
    entry_points.retain(|entry_point| seen.insert(entry_point.clone()));
    let new = |name: Option<String>, entry_points: &[Text], model: Option<&Model>| Draft {
        name: name.map_or_else(|| origin.clone(), |name| format!("{name}@{provider}").into()),
        origin: origin.clone(),
        provider: provider.clone(),
        original: options.clone(),
        options: if layered { options.clone() } else { applied(settings, options, model) },
        entry_points: entry_points.iter().cloned().collect(),
        observed: observed(options, model),
        rule: None,
        hosts: Vec::new(),
        tls_options: DEFAULT.into(),
        status: Status::Enabled,
        errors: Vec::new(),
        using: Vec::new(),
    };
    let mut drafts = Vec::new();
    let mut rest = Vec::new();
    for entry_point in &entry_points {
        let one = std::slice::from_ref(entry_point);
        let model = settings.entry_points.get(&**entry_point).filter(|_| !layered);
        match model.filter(|model| model.changes_routers()) {
            Some(model) if entry_points.len() > 1 => {
                drafts.push(new(Some(format!("{entry_point}-{name}")), one, Some(model)));
            }
            Some(model) => drafts.push(new(None, one, Some(model))),
            None => rest.push(entry_point.clone()),
        }
    }
    if !rest.is_empty() || drafts.is_empty() {
        let model = rest.first().and_then(|first| settings.entry_points.get(&**first));
        drafts.insert(0, new(None, &rest, model));
    }
    drafts
}

/// The options with what the model and the startup configuration add: the same ones where that is nothing.
fn applied(settings: &Settings, options: &Arc<Options>, model: Option<&Model>) -> Arc<Options> {
    let mut options = options.clone();
    let syntax = settings.written_syntax.as_ref().filter(|syntax| !syntax.is_empty());
    if let Some(syntax) = syntax.filter(|_| options.rule_syntax.is_empty()) {
        Arc::make_mut(&mut options).rule_syntax = syntax.into();
    }
    let Some(model) = model else { return options };
    if !model.middlewares.is_empty() {
        let own = options.middlewares.iter().cloned();
        let middlewares = model.middlewares.iter().map(Text::from).chain(own).collect();
        Arc::make_mut(&mut options).middlewares = middlewares;
    }
    if let Some(tls) = model.tls.as_ref().filter(|_| options.tls.is_none()) {
        Arc::make_mut(&mut options).tls = Some(Box::new(tls.clone()));
    }
    options
}

fn observed(options: &Options, model: Option<&Model>) -> Observability {
    let mut observed = options.observability.as_deref().cloned().unwrap_or_default();
    if let Some(model) = model {
        fill(&mut observed, &model.observability);
    }
    fill(&mut observed, &standard_observability());
    observed
}

fn fill(observed: &mut Observability, model: &Observability) {
    observed.access_logs = observed.access_logs.or(model.access_logs);
    observed.metrics = observed.metrics.or(model.metrics);
    observed.tracing = observed.tracing.or(model.tracing);
    if observed.trace_verbosity.is_empty() {
        observed.trace_verbosity.clone_from(&model.trace_verbosity);
    }
}

fn standard_observability() -> Observability {
    Observability {
        access_logs: Some(true),
        metrics: Some(true),
        tracing: Some(true),
        trace_verbosity: "minimal".to_owned(),
    }
}

/// All TCP entry points but `traefik`; only those with `asDefault` if there are any.
pub(crate) fn default_entry_points(settings: &Settings) -> Vec<String> {
    let tcp = || settings.entry_points.iter().filter(|(_, model)| !model.udp);
    let chosen: Vec<_> =
        tcp().filter(|(_, model)| model.as_default).map(|(name, _)| name.clone()).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    tcp().filter(|(name, _)| *name != "traefik").map(|(name, _)| name.clone()).collect()
}
