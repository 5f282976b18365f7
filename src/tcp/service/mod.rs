//! TCP services: servers in turns, services by weight, health.
//!
//! Traefik v3: TCP services (tcp-udp-tls.md §4). What is known of servers (health, turns) is handed over from the
//! service of the same name in the plan before.

mod health;
mod load_balancer;
mod weighted;

use std::any::Any;
use std::sync::Arc;

use super::{Handler, Transport, options, transport};
use crate::service::health::Checker;

/// Takes connections, and tells how its servers are.
pub(crate) trait Service: Handler {
    /// True while connections have a chance.
    fn up(&self) -> bool;

    /// Whether [`Service::up`] means something. The error is Traefik's reason.
    fn reports_health(&self) -> Result<(), &'static str>;

    /// Address of each server of its own, and whether it is up.
    fn server_statuses(&self) -> Vec<(Arc<str>, bool)>;

    /// Active checks of its own servers, to be run while the service is in the plan.
    fn checkers(&self) -> Vec<Arc<Checker>>;

    /// The service itself, for the one that replaces it.
    fn as_any(&self) -> &dyn Any;
}

/// Finds other objects by the names that options hold.
pub(crate) trait Lookup {
    /// A service, built. It refuses circles.
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError>;
    /// A transport, built; the default one for an empty name.
    fn transport(&self, name: &str) -> Result<Arc<Transport>, BuildError>;
}

/// Why a service cannot be built. Texts are Traefik's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(
        "cannot create service: multi-types service not supported, consider declaring two different pieces of \
         service instead"
    )]
    MultipleTypes,
    #[error("the service \"{0}\" does not have any type defined")]
    NoType(String),
    #[error("error parsing server address {address}: {problem}")]
    Server { address: String, problem: String },
    #[error("cannot register {child} as updater for {parent}: {reason}")]
    Unwatched { child: String, parent: String, reason: &'static str },
    #[error("healthCheck: `{0}` holds more than 65535 bytes")]
    TooLong(&'static str),
    #[error("{0}")]
    Transport(#[from] transport::Error),
    /// A service or transport that it refers to cannot be had.
    #[error("{0}")]
    Other(String),
}

/// Builds the service `name`, which is qualified. `previous` is the service that had the name in the plan before.
pub(crate) fn build(
    options: &options::Service,
    name: &str,
    lookup: &dyn Lookup,
    previous: Option<&Arc<dyn Service>>,
) -> Result<Arc<dyn Service>, BuildError> {
    let previous = previous.map(|service| service.as_any());
    match (&options.load_balancer, &options.weighted) {
        (Some(options), None) => {
            let previous = previous.and_then(|service| service.downcast_ref());
            let random = &mut |below| rand::random_range(0..below);
            let transport = lookup.transport(&options.servers_transport)?;
            let built =
                load_balancer::LoadBalancer::new(options, name, &transport, previous, random);
            Ok(Arc::new(built?))
        }
        (None, Some(options)) => {
            let previous = previous.and_then(|service| service.downcast_ref());
            Ok(Arc::new(weighted::Weighted::new(options, name, lookup, previous)?))
        }
        (None, None) => Err(BuildError::NoType(name.to_owned())),
        (Some(_), Some(_)) => Err(BuildError::MultipleTypes),
    }
}
