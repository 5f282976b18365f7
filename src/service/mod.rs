//! Services: balancers, sticky sessions, health, and services made of services.
//!
//! Traefik v3: HTTP services. A service is built once per plan; what it knows of its servers (health, requests in
//! flight, turns) is handed over from the service of the same name in the plan before.

pub(crate) mod balancer;
mod buffer;
mod failover;
pub(crate) mod health;
mod highest_random_weight;
mod load_balancer;
mod mirroring;
mod options;
mod sticky;
#[cfg(test)]
mod testing;
mod weighted;

use std::any::Any;
use std::sync::Arc;

use crate::http::Handler;
use crate::upstream;

#[cfg(any(test, fuzzing))]
pub(crate) use options::Cookie;
pub(crate) use options::Options;
#[cfg(any(test, fuzzing))]
pub(crate) use sticky::Sticky;

/// Answers requests, and tells how its servers are.
pub(crate) trait Service: Handler {
    /// True while requests have a chance.
    fn up(&self) -> bool;

    /// Whether [`Service::up`] means something: a service made of services can ask that of its parts. The error is
    /// Traefik's reason.
    fn reports_health(&self) -> Result<(), &'static str>;

    /// URL of each server of its own, and whether it is up. Servers of other services are told by those.
    fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
        Vec::new()
    }

    /// Active checks of its own servers, to be run while the service is in the plan.
    fn checkers(&self) -> Vec<Arc<health::Checker>> {
        Vec::new()
    }

    /// The service itself, for the one that replaces it. A wrapper gives what it wraps.
    fn as_any(&self) -> &dyn Any;
}

/// Finds other objects by the names that options hold; an unqualified name is looked up in the provider of the service
/// that refers to it.
pub(crate) trait Lookup {
    /// A service, built. It refuses circles.
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError>;
    /// A transport, built.
    fn transport(&self, name: &str) -> Result<Arc<upstream::Transport>, BuildError>;
}

/// Why a service cannot be built. The routers that use it are disabled. Texts are Traefik's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(
        "cannot create service: multi-types service not supported, consider declaring two different pieces of \
         service instead"
    )]
    MultipleTypes,
    #[error("the service \"{0}\" does not have any type defined")]
    NoType(String),
    #[error("unsupported load-balancer strategy \"{0}\"")]
    Strategy(String),
    #[error("error parsing server URL {url}: {problem}")]
    Server { url: String, problem: String },
    #[error("cannot register {child} as updater for {parent}: {reason}")]
    Unwatched { child: String, parent: String, reason: &'static str },
    #[error("percent must be between 0 and 100")]
    Percent,
    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option { option: &'static str, problem: String },
    /// A service or transport that it refers to cannot be had.
    #[error("{0}")]
    Other(String),
}

impl BuildError {
    fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}

/// Builds the service `name`, which is qualified. `previous` is the service that had the name in the plan before.
/// `options.middlewares` are not its business.
pub(crate) fn build(
    options: &Options,
    name: &str,
    lookup: &dyn Lookup,
    previous: Option<&Arc<dyn Service>>,
) -> Result<Arc<dyn Service>, BuildError> {
    if options.kinds().len() > 1 {
        return Err(BuildError::MultipleTypes);
    }
    let previous = previous.map(|service| service.as_any());
    if let Some(options) = &options.load_balancer {
        let transport = match options.servers_transport.as_str() {
            "" => lookup.transport("default@internal")?,
            transport => lookup.transport(transport)?,
        };
        let previous = previous.and_then(|service| service.downcast_ref());
        let random = &mut |below| rand::random_range(0..below);
        let built = load_balancer::LoadBalancer::new(options, name, &transport, previous, random)?;
        return Ok(Arc::new(built));
    }
    if let Some(options) = &options.weighted {
        let previous = previous.and_then(|service| service.downcast_ref());
        return Ok(Arc::new(weighted::Weighted::new(options, name, lookup, previous)?));
    }
    if let Some(options) = &options.highest_random_weight {
        let built = highest_random_weight::HighestRandomWeight::new(options, name, lookup)?;
        return Ok(Arc::new(built));
    }
    if let Some(options) = &options.mirroring {
        let previous = previous.and_then(|service| service.downcast_ref());
        return Ok(Arc::new(mirroring::Mirroring::new(options, name, lookup, previous)?));
    }
    if let Some(options) = &options.failover {
        return Ok(Arc::new(failover::Failover::new(options, name, lookup)?));
    }
    Err(BuildError::NoType(name.to_owned()))
}

/// Looks `child` up for `parent`; with `watched`, it has to report whether it is up.
fn child(
    lookup: &dyn Lookup,
    child: &str,
    parent: &str,
    watched: bool,
) -> Result<Arc<dyn Service>, BuildError> {
    let service = lookup.service(child)?;
    match service.reports_health() {
        Err(reason) if watched => Err(BuildError::Unwatched {
            child: child.to_owned(),
            parent: parent.to_owned(),
            reason,
        }),
        Ok(()) | Err(_) => Ok(service),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::testing::Services;
    use super::*;

    fn error(options: Value) -> String {
        let options: Options = serde_json::from_value(options).unwrap();
        let services = Services::of(&[("bare", false), ("checked", true)]);
        build(&options, "x@p", &services, None).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_told_in_traefiks_words() {
        assert_eq!(
            error(json!({"loadBalancer": {}, "weighted": {}})),
            "cannot create service: multi-types service not supported, consider declaring two different pieces of \
             service instead"
        );
        assert_eq!(
            error(json!({"middlewares": ["m"]})),
            "the service \"x@p\" does not have any type defined"
        );
        assert_eq!(
            error(json!({"loadBalancer": {"strategy": "roulette"}})),
            "unsupported load-balancer strategy \"roulette\""
        );
        assert_eq!(
            error(json!({"loadBalancer": {"serversTransport": "nowhere"}})),
            "servers transport not found nowhere@p"
        );
        let bad_url = error(json!({"loadBalancer": {"servers": [{"url": "ftp://a"}]}}));
        assert!(bad_url.starts_with("error parsing server URL ftp://a: "), "{bad_url}");
        assert_eq!(
            error(
                json!({"mirroring": {"service": "bare", "mirrors": [{"name": "bare", "percent": 101}]}})
            ),
            "percent must be between 0 and 100"
        );
        assert_eq!(
            error(json!({"weighted": {"services": [{"name": "missing"}]}})),
            "the service \"missing@p\" does not exist"
        );
    }

    #[test]
    fn parts_without_a_health_check_are_refused_where_it_is_needed() {
        let reason = "healthCheck not enabled in config for this weighted service";
        for options in [
            json!({"weighted": {"healthCheck": {}, "services": [{"name": "checked"}, {"name": "bare"}]}}),
            json!({"highestRandomWeight": {"healthCheck": {}, "services": [{"name": "bare"}]}}),
            json!({"mirroring": {"healthCheck": {}, "service": "bare"}}),
            json!({"failover": {"service": "bare", "fallback": "checked"}}),
            json!({"failover": {"healthCheck": {}, "service": "checked", "fallback": "bare"}}),
        ] {
            assert_eq!(
                error(options),
                format!("cannot register bare as updater for x@p: {reason}")
            );
        }
    }
}
