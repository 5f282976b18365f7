//! `weighted`: spreads requests over services, by weight.

use std::any::Any;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, header};
use async_trait::async_trait;

use super::balancer::{Balancer, Member, Phases, Wrr};
use super::sticky::Sticky;
use super::{BuildError, Lookup, Service, child, options};
use crate::http::{Handler, ProxyError, Request, Response};

pub(crate) struct Weighted {
    children: Box<[Part]>,
    turns: Wrr,
    sticky: Option<Sticky>,
    /// Parts that are down are left out; without it, they get their share.
    watched: bool,
}

/// A service, and whether its weight lets it take part.
struct Part {
    service: Arc<dyn Service>,
    used: bool,
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
            let service = child(lookup, &part.name, name, watched)?;
            let member = Member::new(part.name.as_str().into(), part.weight, Arc::default());
            children.push(Part { service, used: member.weight > 0 });
            members.push(member);
        }
        let phases = previous.map_or_else(Phases::new, |previous| previous.turns.phases());
        let cookie = options.sticky.as_ref().and_then(|sticky| sticky.cookie.as_ref());
        let names = options.services.iter().map(|part| part.name.as_str());
        let sticky = cookie.map(|cookie| Sticky::new(cookie, name, names)).transpose()?;
        Ok(Self { children: children.into(), turns: Wrr::new(&members, &phases), sticky, watched })
    }

    fn usable(&self, index: usize) -> bool {
        let usable = |part: &Part| part.used && (!self.watched || part.service.up());
        self.children.get(index).is_some_and(usable)
    }

    fn pick(&self, headers: &HeaderMap) -> Option<(&dyn Service, Option<HeaderValue>)> {
        let usable = |index| self.usable(index);
        let pick = || self.turns.next(&usable);
        let (index, cookie) = Sticky::choose(self.sticky.as_ref(), headers, &usable, pick)?;
        Some((&*self.children.get(index)?.service, cookie))
    }
}

#[async_trait]
impl Handler for Weighted {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let Some((service, cookie)) = self.pick(request.headers()) else {
            return Err(ProxyError::NoServer);
        };
        let mut response = service.handle(request).await?;
        if let Some(cookie) = cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

impl Service for Weighted {
    fn up(&self) -> bool {
        (0..self.children.len()).any(|index| self.usable(index))
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.watched {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this weighted service")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Services, answers};
    use super::*;

    fn built(services: &Services, options: Value) -> Weighted {
        let options = serde_json::from_value(options).unwrap();
        Weighted::new(&options, "x@p", services, None).unwrap()
    }

    #[tokio::test]
    async fn requests_are_spread_by_weight() {
        let services = Services::of(&[("stable", false), ("canary", false), ("dark", false)]);
        let weighted = built(
            &services,
            json!({"services": [{"name": "stable", "weight": 9}, {"name": "canary"}, {"name": "dark", "weight": 0}]}),
        );
        answers(&weighted, 20).await;
        assert_eq!(services.hits(), [("canary", 2), ("dark", 0), ("stable", 18)]);
    }

    #[tokio::test]
    async fn only_a_health_check_leaves_out_what_is_down() {
        let services = Services::of(&[("a", true), ("b", true)]);
        let parts = json!([{"name": "a"}, {"name": "b"}]);
        let plain = built(&services, json!({"services": parts}));
        let watched = built(&services, json!({"services": parts, "healthCheck": {}}));
        services.set_up("a", false);
        answers(&plain, 2).await;
        assert_eq!(services.hits(), [("a", 1), ("b", 1)]);
        answers(&watched, 4).await;
        assert_eq!(services.hits(), [("a", 1), ("b", 5)]);
        services.set_up("b", false);
        assert!(!watched.up() && plain.up());
        assert!(watched.reports_health().is_ok() && plain.reports_health().is_err());
        assert_eq!(answers(&watched, 1).await, [503]);
    }

    #[test]
    fn the_cookie_names_the_service_as_written() {
        let services = Services::of(&[("stable", false), ("canary", false)]);
        let weighted = built(
            &services,
            json!({"services": [{"name": "stable"}, {"name": "canary"}],
                "sticky": {"cookie": {"name": "release", "httpOnly": true}}}),
        );
        let (_, cookie) = weighted.pick(&HeaderMap::new()).unwrap();
        assert_eq!(cookie.unwrap(), "release=f379ccb92b911644; Path=/; HttpOnly");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "release=e100fbce008c04ec".parse().unwrap());
        assert!((0..4).all(|_| weighted.pick(&headers).unwrap().1.is_none()));
    }
}
