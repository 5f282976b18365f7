//! `highestRandomWeight`: spreads clients over services; a client stays with its service while that is up.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use super::balancer::{Balancer, Hrw, Member};
use super::{BuildError, Lookup, Service, child, options};
use crate::http::{Handler, ProxyError, Request, Response};

pub(crate) struct HighestRandomWeight {
    children: Box<[(Arc<dyn Service>, Member)]>,
    balancer: Hrw,
    /// Parts that are down are left out; without it, they keep their clients.
    watched: bool,
}

impl HighestRandomWeight {
    pub(super) fn new(
        options: &options::HighestRandomWeight,
        name: &str,
        lookup: &dyn Lookup,
    ) -> Result<Self, BuildError> {
        let watched = options.health_check.is_some();
        let mut children = Vec::new();
        for part in &options.services {
            let service = child(lookup, &part.name, name, watched)?;
            let member = Member::new(part.name.as_str().into(), part.weight, Arc::default());
            children.push((service, member));
        }
        let members: Vec<Member> = children.iter().map(|(_, member)| member.clone()).collect();
        Ok(Self { children: children.into(), balancer: Hrw::new(&members), watched })
    }

    fn usable(&self, index: usize) -> bool {
        self.children
            .get(index)
            .is_some_and(|(service, member)| member.weight > 0 && (!self.watched || service.up()))
    }
}

#[async_trait]
impl Handler for HighestRandomWeight {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let client = request.exchange().connection.remote_ip.as_bytes();
        let index = self.balancer.pick(client, &|index| self.usable(index));
        match index.and_then(|index| self.children.get(index)) {
            Some((service, _)) => service.handle(request).await,
            None => Err(ProxyError::NoServer),
        }
    }
}

impl Service for HighestRandomWeight {
    fn up(&self) -> bool {
        (0..self.children.len()).any(|index| self.usable(index))
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.watched {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this HRW service")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Services, answers};
    use super::*;

    #[tokio::test]
    async fn a_client_moves_only_when_its_service_is_down() {
        let services = Services::of(&[("a", true), ("b", true), ("off", true)]);
        let options = json!({"healthCheck": {},
            "services": [{"name": "a"}, {"name": "b"}, {"name": "off", "weight": 0}]});
        let options = serde_json::from_value(options).unwrap();
        let service = HighestRandomWeight::new(&options, "x@p", &services).unwrap();
        answers(&service, 6).await;
        let (home, _) = *services.hits().iter().find(|(_, hits)| *hits == 6).expect("all in one");
        services.set_up(home, false);
        answers(&service, 6).await;
        assert_eq!(services.hits(), [("a", 6), ("b", 6), ("off", 0)]);
        services.set_up("a", false);
        services.set_up("b", false);
        assert_eq!(answers(&service, 1).await, [503]);
        assert!(!service.up());
    }
}
