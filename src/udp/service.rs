//! UDP services: servers in turns, services by weight.
//!
//! Differs: a server whose address is not `host:port` disables its service, where Traefik leaves the server out.

use std::any::Any;
use std::sync::Arc;

use super::{Server, options};
use crate::service::balancer::{Balancer as _, Member, Phases, Wrr};
use crate::upstream::host_and_port;

/// Picks the server of a session.
pub(crate) trait Service: Send + Sync {
    /// The server for the next session; `None` where there is none.
    fn pick(&self) -> Option<&Server>;

    /// The service itself, for the one that replaces it.
    fn as_any(&self) -> &dyn Any;
}

/// Finds services by the names that options hold.
pub(crate) trait Lookup {
    /// A service, built. It refuses circles.
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError>;
}

/// Why a service cannot be built. Texts are Traefik's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(
        "cannot create service: multi-types service not supported, consider declaring two different pieces of \
         service instead"
    )]
    MultipleTypes,
    #[error("the UDP service \"{0}\" does not have any type defined")]
    NoType(String),
    #[error("error parsing server address {0}: write `host:port`")]
    Server(String),
    /// A service that it refers to cannot be had.
    #[error("{0}")]
    Other(String),
}

/// Builds the service `name`, which is qualified. `previous` is the service that had the name in the plan before: its
/// turns go on.
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
            Ok(Arc::new(LoadBalancer::new(options, previous)?))
        }
        (None, Some(options)) => {
            let previous = previous.and_then(|service| service.downcast_ref());
            Ok(Arc::new(Weighted::new(options, lookup, previous)?))
        }
        (None, None) => Err(BuildError::NoType(name.to_owned())),
        (Some(_), Some(_)) => Err(BuildError::MultipleTypes),
    }
}

struct LoadBalancer {
    servers: Box<[Server]>,
    turns: Wrr,
}

impl LoadBalancer {
    fn new(options: &options::LoadBalancer, previous: Option<&Self>) -> Result<Self, BuildError> {
        let (mut servers, mut members) = (Vec::new(), Vec::new());
        for options::Server { address } in &options.servers {
            let (host, port) =
                host_and_port(address).ok_or_else(|| BuildError::Server(address.clone()))?;
            servers.push(Server { host: host.to_owned(), port });
            members.push(Member::new(address.as_str().into(), None, Arc::default()));
        }
        let phases = previous.map_or_else(Phases::new, |previous| previous.turns.phases());
        Ok(Self { servers: servers.into(), turns: Wrr::new(&members, &phases) })
    }
}

impl Service for LoadBalancer {
    fn pick(&self) -> Option<&Server> {
        self.servers.get(self.turns.next(&|_| true)?)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Weighted {
    children: Box<[Arc<dyn Service>]>,
    turns: Wrr,
}

impl Weighted {
    fn new(
        options: &options::Weighted,
        lookup: &dyn Lookup,
        previous: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let (mut children, mut members) = (Vec::new(), Vec::new());
        for part in &options.services {
            children.push(lookup.service(&part.name)?);
            members.push(Member::new(part.name.as_str().into(), part.weight, Arc::default()));
        }
        let phases = previous.map_or_else(Phases::new, |previous| previous.turns.phases());
        Ok(Self { children: children.into(), turns: Wrr::new(&members, &phases) })
    }
}

impl Service for Weighted {
    fn pick(&self) -> Option<&Server> {
        self.children.get(self.turns.next(&|_| true)?)?.pick()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;

    #[derive(Default)]
    struct Services(HashMap<String, Arc<dyn Service>>);

    impl Lookup for Services {
        fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError> {
            self.0.get(name).cloned().ok_or_else(|| BuildError::Other(format!("no {name}")))
        }
    }

    fn built(
        options: Value,
        services: &Services,
        previous: Option<&Arc<dyn Service>>,
    ) -> Result<Arc<dyn Service>, String> {
        let options = serde_json::from_value(options).unwrap();
        build(&options, "x@p", services, previous).map_err(|error| error.to_string())
    }

    fn picks(service: &Arc<dyn Service>, count: usize) -> Vec<String> {
        (0..count).map(|_| service.pick().unwrap().host.clone()).collect()
    }

    #[test]
    fn servers_take_turns_and_go_on_after_a_new_configuration() {
        let options =
            json!({"loadBalancer": {"servers": [{"address": "a:1"}, {"address": "[::1]:2"}]}});
        let old = built(options.clone(), &Services::default(), None).unwrap();
        assert_eq!(picks(&old, 3), ["a", "::1", "a"]);
        let new = built(options, &Services::default(), Some(&old)).unwrap();
        assert_eq!(picks(&new, 2), ["::1", "a"]);
        assert_eq!(new.pick(), Some(&Server { host: "::1".to_owned(), port: 2 }));
    }

    #[test]
    fn weights_decide_among_services() {
        let one = |address: &str| {
            let options = json!({"loadBalancer": {"servers": [{"address": address}]}});
            built(options, &Services::default(), None).unwrap()
        };
        let services =
            Services(HashMap::from([("a".into(), one("a:1")), ("b".into(), one("b:1"))]));
        let parts = json!([{"name": "a", "weight": 3}, {"name": "b"}]);
        let weighted = built(json!({"weighted": {"services": parts}}), &services, None).unwrap();
        assert_eq!(picks(&weighted, 8).iter().filter(|host| *host == "a").count(), 6);
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |options| built(options, &Services::default(), None).err().unwrap();
        assert_eq!(refused(json!({})), "the UDP service \"x@p\" does not have any type defined");
        assert!(refused(json!({"loadBalancer": {}, "weighted": {}})).contains("multi-types"));
        let address = json!({"loadBalancer": {"servers": [{"address": "a"}]}});
        assert_eq!(refused(address), "error parsing server address a: write `host:port`");
        let missing = json!({"weighted": {"services": [{"name": "c"}]}});
        assert_eq!(refused(missing), "no c");
        let empty = built(json!({"loadBalancer": {}}), &Services::default(), None).unwrap();
        assert!(empty.pick().is_none());
    }
}
