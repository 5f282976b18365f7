//! `weighted`: spreads connections over services, by weight.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use super::{BuildError, Lookup, Service, options};
use crate::service::balancer::{Balancer as _, Member, Phases, Wrr};
use crate::service::health::Checker;
use crate::tcp::{Connection, Error, Handler};

pub(super) struct Weighted {
    children: Box<[Arc<dyn Service>]>,
    turns: Wrr,
    /// Children that are down are left out; without it, they get their share.
    watched: bool,
}

impl Weighted {
    pub(super) fn new(
        options: &options::Weighted,
        name: &str,
        lookup: &dyn Lookup,
        previous: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let watched = options.health_check.is_some();
        let (mut children, mut members) = (Vec::new(), Vec::new());
        for part in &options.services {
            let child = lookup.service(&part.name)?;
            if let Err(reason) = child.reports_health()
                && watched
            {
                let (child, parent) = (part.name.clone(), name.to_owned());
                return Err(BuildError::Unwatched { child, parent, reason });
            }
            members.push(Member::new(part.name.as_str().into(), part.weight, Arc::default()));
            children.push(child);
        }
        let phases = previous.map_or_else(Phases::new, |previous| previous.turns.phases());
        Ok(Self { children: children.into(), turns: Wrr::new(&members, &phases), watched })
    }

    fn pick(&self) -> Option<&Arc<dyn Service>> {
        let usable = |index| {
            self.children
                .get(index)
                .is_some_and(|child: &Arc<dyn Service>| !self.watched || child.up())
        };
        self.children.get(self.turns.next(&usable)?)
    }
}

#[async_trait]
impl Handler for Weighted {
    async fn serve(&self, connection: Connection) -> Result<(), Error> {
        self.pick().ok_or(Error::NoServer)?.serve(connection).await
    }
}

impl Service for Weighted {
    fn up(&self) -> bool {
        self.children.iter().any(|child| !self.watched || child.up())
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.watched {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this weighted service")
    }

    fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
        Vec::new()
    }

    fn checkers(&self) -> Vec<Arc<Checker>> {
        Vec::new()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use serde_json::{Value, json};

    use super::*;
    use crate::tcp::Transport;

    /// Counts connections.
    struct Counting {
        hits: AtomicUsize,
        up: AtomicBool,
        checked: bool,
    }

    #[async_trait]
    impl Handler for Counting {
        async fn serve(&self, _: Connection) -> Result<(), Error> {
            self.hits.fetch_add(1, Relaxed);
            Ok(())
        }
    }

    impl Service for Counting {
        fn up(&self) -> bool {
            self.up.load(Relaxed)
        }

        fn reports_health(&self) -> Result<(), &'static str> {
            if self.checked { Ok(()) } else { Err("not checked") }
        }

        fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
            Vec::new()
        }

        fn checkers(&self) -> Vec<Arc<Checker>> {
            Vec::new()
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    struct Services(HashMap<&'static str, Arc<Counting>>);

    impl Services {
        fn of(all: &[(&'static str, bool)]) -> Self {
            let new = |checked| Counting { hits: 0.into(), up: true.into(), checked };
            Self(all.iter().map(|(name, checked)| (*name, Arc::new(new(*checked)))).collect())
        }

        fn hits(&self, name: &str) -> usize {
            self.0[name].hits.load(Relaxed)
        }
    }

    impl Lookup for Services {
        fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError> {
            let known = self.0.get(name).cloned();
            Ok(known.ok_or_else(|| BuildError::Other(format!("no {name}")))?)
        }

        fn transport(&self, _: &str) -> Result<Arc<Transport>, BuildError> {
            Err(BuildError::Other("no transport".to_owned()))
        }
    }

    fn built(services: &Services, options: Value) -> Result<Weighted, BuildError> {
        let options = serde_json::from_value(options).unwrap();
        Weighted::new(&options, "x@p", services, None)
    }

    async fn connect(weighted: &Weighted, times: usize) {
        for _ in 0..times {
            let (near, _far) = tokio::io::duplex(1);
            let address = "127.0.0.1:1".parse().unwrap();
            let connection = Connection {
                client: Box::new(near),
                remote: address,
                local: address,
                starttls: false,
            };
            drop(weighted.serve(connection).await);
        }
    }

    #[tokio::test]
    async fn connections_are_spread_by_weight() {
        let services = Services::of(&[("a", false), ("b", false), ("dark", false)]);
        let parts =
            json!([{"name": "a", "weight": 3}, {"name": "b"}, {"name": "dark", "weight": 0}]);
        let weighted = built(&services, json!({"services": parts})).unwrap();
        connect(&weighted, 8).await;
        assert_eq!([services.hits("a"), services.hits("b"), services.hits("dark")], [6, 2, 0]);
    }

    #[tokio::test]
    async fn only_a_health_check_leaves_out_what_is_down() {
        let services = Services::of(&[("a", true), ("b", true)]);
        let parts = json!([{"name": "a"}, {"name": "b"}]);
        let plain = built(&services, json!({"services": parts})).unwrap();
        let watched = built(&services, json!({"services": parts, "healthCheck": {}})).unwrap();
        services.0["a"].up.store(false, Relaxed);
        connect(&plain, 2).await;
        connect(&watched, 4).await;
        assert_eq!([services.hits("a"), services.hits("b")], [1, 5]);
        services.0["b"].up.store(false, Relaxed);
        assert!(!watched.up() && plain.up());
        assert!(watched.reports_health().is_ok() && plain.reports_health().is_err());
        connect(&watched, 1).await;
        assert_eq!(services.hits("b"), 5, "there is no server");
    }

    #[test]
    fn a_child_without_a_check_cannot_be_watched() {
        let services = Services::of(&[("bare", false)]);
        let options = json!({"services": [{"name": "bare"}], "healthCheck": {}});
        let error = built(&services, options).err().unwrap().to_string();
        assert_eq!(error, "cannot register bare as updater for x@p: not checked");
    }
}
