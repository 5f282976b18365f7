//! `loadBalancer`: sticky session, then the balancer picks a healthy server.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, header};
use async_trait::async_trait;
use http_body::Body as _;
use tokio::time::Instant;
use tracing::warn;

use super::balancer::{self, Balancer, InFlight, Load, Member, Phases};
use super::health::{Checker, Health, Passive};
use super::sticky::Sticky;
use super::{BuildError, Service, options};
use crate::http::{Body, Handler, ProxyError, Request, Response, Side};
use crate::observe::trace::Span;
use crate::upstream;

pub(crate) struct LoadBalancer {
    name: Arc<str>,
    servers: Box<[Server]>,
    balancer: Box<dyn Balancer>,
    sticky: Option<Sticky>,
    passive: Option<Passive>,
    checker: Option<Arc<Checker>>,
}

struct Server {
    upstream: upstream::Server,
    /// False for a weight that takes the server out.
    used: bool,
    health: Arc<Health>,
    load: Arc<Load>,
}

impl LoadBalancer {
    /// `random` gives a number below its argument: servers are shuffled, so that the peers and the plans do not all
    /// start with the same one.
    pub(super) fn new(
        options: &options::LoadBalancer,
        name: &str,
        transport: &Arc<upstream::Transport>,
        previous: Option<&Self>,
        random: &mut dyn FnMut(usize) -> usize,
    ) -> Result<Self, BuildError> {
        let name: Arc<str> = name.into();
        let mut order: Vec<&options::Server> = options.servers.iter().collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random(last + 1).min(last));
        }
        let mut states = States::new(options, previous);
        let pass_host = options.pass_host_header.unwrap_or(true);
        let mut servers = Vec::with_capacity(order.len());
        let mut members = Vec::with_capacity(order.len());
        for server in order {
            let upstream = upstream::Server::new(
                &server.url,
                server.preserve_path,
                pass_host,
                Arc::clone(transport),
            )
            .map_err(|error| BuildError::Server {
                url: server.url.clone(),
                problem: error.to_string(),
            })?;
            let (health, load) = states.of(upstream.url());
            let member = Member::new(Arc::clone(upstream.url()), server.weight, Arc::clone(&load));
            servers.push(Server { upstream, used: member.weight > 0, health, load });
            members.push(member);
        }
        let phases = previous.map_or_else(Phases::new, |previous| previous.balancer.phases());
        let balancer = balancer::build(&options.strategy, &members, &phases)
            .ok_or_else(|| BuildError::Strategy(options.strategy.clone()))?;
        if balancer.ignores_weights() {
            for server in &mut servers {
                server.used = true;
            }
        }
        let urls = || servers.iter().map(|server| &**server.upstream.url());
        let cookie = options.sticky.as_ref().and_then(|sticky| sticky.cookie.as_ref());
        let sticky = cookie.map(|cookie| Sticky::new(cookie, &name, urls())).transpose()?;
        let checker = options
            .health_check
            .as_ref()
            .map(|check| Checker::new(check, &name, states.into_servers(), transport))
            .transpose()?
            .map(Arc::new);
        let passive = options.passive_health_check.as_ref();
        let passive = passive.map(|check| Passive::new(check, checker.is_some()));
        Ok(Self { name, servers: servers.into(), balancer, sticky, passive, checker })
    }

    fn usable(&self, index: usize) -> bool {
        self.servers.get(index).is_some_and(|server| server.used && server.health.is_up())
    }

    /// The server for a request, and the cookie to set.
    fn pick(&self, headers: &HeaderMap, client: &[u8]) -> Option<(&Server, Option<HeaderValue>)> {
        let usable = |index| self.usable(index);
        let pick = || self.balancer.pick(client, &usable);
        let (index, cookie) = Sticky::choose(self.sticky.as_ref(), headers, &usable, pick)?;
        Some((self.servers.get(index)?, cookie))
    }

    /// Spans of the service and its metrics, the inner one first, where a request is recorded in detail.
    fn spans(&self, request: &mut Request) -> Option<Box<(Option<Span>, Span)>> {
        let mut span = request.span()?.inner("Service")?;
        span.text("traefik.service.name", &*self.name);
        let metrics = span.context().of_service_metrics();
        request.enter(metrics.as_ref().unwrap_or(&span));
        Some(Box::new((metrics, span)))
    }

    /// Lets a passive check learn from a request.
    fn judge(&self, server: &Server, result: &Result<Response, ProxyError>) {
        let Some(passive) = &self.passive else { return };
        let failed = match result {
            Ok(response) => response.status().is_server_error(),
            Err(error) if error.side() == Side::Upstream => true,
            // The client's fault or ours says nothing of the server.
            Err(_) => return,
        };
        if !failed {
            server.health.request_succeeded();
        } else if passive.failed(&server.health, Instant::now()) {
            warn!(service = %self.name, url = %server.upstream.url(), "server is left out: requests fail");
        }
    }
}

#[async_trait]
impl Handler for LoadBalancer {
    async fn handle(&self, mut request: Request) -> Result<Response, ProxyError> {
        request.exchange().record().service = Some(Arc::clone(&self.name));
        // They end with the head of the response.
        let _spans = self.spans(&mut request);
        let client = request.exchange().connection.remote_ip.as_bytes();
        let Some((server, cookie)) = self.pick(request.headers(), client) else {
            return Err(ProxyError::NoServer);
        };
        let in_flight = self.balancer.watches_load().then(|| server.load.enter());
        let started = self.balancer.watches_latency().then(Instant::now);
        let result = server.upstream.send(request).await;
        self.judge(server, &result);
        let mut response = result?;
        if let Some(started) = started {
            server.load.answered_after(started.elapsed());
        }
        if let Some(in_flight) = in_flight {
            response = response.map(|body| counted(body, in_flight));
        }
        if let Some(cookie) = cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

impl Service for LoadBalancer {
    fn up(&self) -> bool {
        (0..self.servers.len()).any(|index| self.usable(index))
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        match self.checker {
            Some(_) => Ok(()),
            None => Err("healthCheck not enabled in config for this weighted service"),
        }
    }

    fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
        let status = |server: &Server| (Arc::clone(server.upstream.url()), server.health.is_up());
        self.servers.iter().map(status).collect()
    }

    fn checkers(&self) -> Vec<Arc<Checker>> {
        self.checker.iter().cloned().collect()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What is known of each URL: taken over from the service before, where that still means something.
struct States<'a> {
    known: HashMap<&'a str, &'a Server>,
    /// Whether health is taken over.
    keeps_health: bool,
    by_url: HashMap<Arc<str>, (Arc<Health>, Arc<Load>)>,
    /// URLs in the order in which they were asked for.
    urls: Vec<Arc<str>>,
}

impl<'a> States<'a> {
    fn new(options: &options::LoadBalancer, previous: Option<&'a LoadBalancer>) -> Self {
        let servers = previous.map_or(&[][..], |previous| &previous.servers);
        let probed_before = previous.is_some_and(|previous| previous.checker.is_some());
        // What a probe found can only be undone by a probe, so it must not outlive the probes.
        let keeps_health = options.health_check.is_some()
            || (options.passive_health_check.is_some() && !probed_before);
        Self {
            known: servers.iter().map(|server| (&**server.upstream.url(), server)).collect(),
            keeps_health,
            by_url: HashMap::new(),
            urls: Vec::new(),
        }
    }

    /// Servers with the same URL share a state.
    fn of(&mut self, url: &Arc<str>) -> (Arc<Health>, Arc<Load>) {
        if let Some((health, load)) = self.by_url.get(url) {
            return (Arc::clone(health), Arc::clone(load));
        }
        let known = self.known.get(&**url);
        let health = known.filter(|_| self.keeps_health).map(|known| Arc::clone(&known.health));
        let state = (
            health.unwrap_or_default(),
            known.map(|known| Arc::clone(&known.load)).unwrap_or_default(),
        );
        self.urls.push(Arc::clone(url));
        self.by_url.insert(Arc::clone(url), state.clone());
        state
    }

    /// Each URL once, with its health.
    fn into_servers(self) -> impl Iterator<Item = (Arc<str>, Arc<Health>)> {
        let Self { mut by_url, urls, .. } = self;
        urls.into_iter().filter_map(move |url| {
            let (health, _) = by_url.remove(&url)?;
            Some((url, health))
        })
    }
}

/// `body`, which counts as in flight until it has ended.
fn counted(body: Body, in_flight: InFlight) -> Body {
    if body.is_end_stream() {
        return body;
    }
    body.guarded(in_flight)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::testing::{request, transport};
    use super::*;

    fn built(options: Value, previous: Option<&LoadBalancer>) -> LoadBalancer {
        let options: options::LoadBalancer = serde_json::from_value(options).unwrap();
        LoadBalancer::new(&options, "x@p", &transport(), previous, &mut |below| below - 1).unwrap()
    }

    fn server<'a>(service: &'a LoadBalancer, url: &str) -> &'a Server {
        service.servers.iter().find(|server| &**server.upstream.url() == url).unwrap()
    }

    fn picked(service: &LoadBalancer) -> Option<String> {
        let (server, _) = service.pick(&HeaderMap::new(), b"192.0.2.1")?;
        Some(server.upstream.url().to_string())
    }

    #[tokio::test]
    async fn a_request_under_way_is_small() {
        let service = built(json!({"servers": [{"url": "http://a"}]}), None);
        let future = service.handle(request("/").0);
        let size = size_of_val(&*future);
        assert!(size <= 1400, "each request has one of these: {size} bytes");
    }

    #[tokio::test]
    async fn without_a_usable_server_it_is_503() {
        let service = built(json!({"servers": [{"url": "http://a", "weight": 0}]}), None);
        let (request, exchange) = request("/");
        let error = service.handle(request).await.unwrap_err();
        assert!(matches!(error, ProxyError::NoServer));
        assert_eq!(exchange.record().service.as_deref(), Some("x@p"), "the log names it anyway");
        assert!(!service.up());
    }

    #[test]
    fn servers_are_shuffled_by_what_random_says() {
        let options: options::LoadBalancer = serde_json::from_value(
            json!({"servers": [{"url": "http://a"}, {"url": "http://b"}, {"url": "http://c"}]}),
        )
        .unwrap();
        let first = |random: usize| {
            let random = &mut |below: usize| random % below;
            let built = LoadBalancer::new(&options, "x@p", &transport(), None, random).unwrap();
            picked(&built).unwrap()
        };
        assert_ne!(first(0), first(5));
    }

    #[test]
    fn servers_that_are_down_are_left_out_and_shown() {
        let service = built(
            json!({"servers": [{"url": "http://a"}, {"url": "http://b"}], "healthCheck": {"path": "/"}}),
            None,
        );
        assert_eq!(service.reports_health(), Ok(()));
        assert!(service.server_statuses().iter().all(|(_, up)| *up), "all start up");
        server(&service, "http://a").health.set_up(false);
        assert!((0..4).all(|_| picked(&service).unwrap() == "http://b"));
        assert_eq!(service.server_statuses().iter().filter(|(_, up)| *up).count(), 1);
        server(&service, "http://b").health.set_up(false);
        assert!(picked(&service).is_none() && !service.up());
    }

    #[test]
    fn a_sticky_server_is_kept_while_it_is_up() {
        let service = built(
            json!({"servers": [{"url": "http://a"}, {"url": "http://b"}], "sticky": {"cookie": {"name": "s"}}}),
            None,
        );
        let (first, cookie) = service.pick(&HeaderMap::new(), b"").unwrap();
        let cookie = cookie.unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        for _ in 0..3 {
            let (again, cookie) = service.pick(&headers, b"").unwrap();
            assert_eq!((again.upstream.url(), cookie), (first.upstream.url(), None));
        }
        first.health.set_up(false);
        let (other, cookie) = service.pick(&headers, b"").unwrap();
        assert!(other.upstream.url() != first.upstream.url() && cookie.is_some());
    }

    #[test]
    fn what_is_known_of_a_server_survives_a_new_configuration() {
        let with = |servers: Value| json!({"servers": servers, "healthCheck": {"path": "/"}, "strategy": "p2c"});
        let old = built(with(json!([{"url": "http://a"}, {"url": "http://b"}])), None);
        server(&old, "http://a").health.set_up(false);
        let _in_flight = server(&old, "http://b").load.enter();
        let new = built(
            with(json!([{"url": "http://c"}, {"url": "http://b"}, {"url": "http://a"}])),
            Some(&old),
        );
        assert!(!server(&new, "http://a").health.is_up(), "down until a probe succeeds");
        assert_eq!(server(&new, "http://b").load.in_flight(), 1);
        assert!(server(&new, "http://c").health.is_up());
        let unchecked = built(json!({"servers": [{"url": "http://a"}]}), Some(&new));
        assert!(unchecked.up(), "nobody would bring it back");
    }

    #[test]
    fn turns_go_on_after_a_new_configuration() {
        let options =
            json!({"servers": [{"url": "http://a"}, {"url": "http://b"}, {"url": "http://c"}]});
        let old = built(options.clone(), None);
        let first = picked(&old).unwrap();
        let new = built(options, Some(&old));
        let next = [picked(&new).unwrap(), picked(&new).unwrap()];
        assert!(!next.contains(&first), "{first} {next:?}");
    }

    #[test]
    fn failed_requests_take_a_server_out() {
        let service = built(
            json!({"servers": [{"url": "http://a"}], "passiveHealthCheck": {"maxFailedAttempts": 2}}),
            None,
        );
        let a = server(&service, "http://a");
        let refused = || Err(ProxyError::Connect { server: "a".into(), reason: "refused".into() });
        let answered = |status: u16| {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        };
        service.judge(a, &refused());
        service.judge(a, &answered(404));
        service.judge(a, &answered(500));
        service.judge(a, &Err(ProxyError::ClientBody(String::new())));
        assert!(service.up(), "a success in between clears, the client says nothing");
        service.judge(a, &refused());
        assert!(!service.up());
        assert!(a.health.is_up_at(Instant::now() + Duration::from_secs(10)));
    }

    #[test]
    fn a_request_counts_until_its_response_ends() {
        let load: Arc<Load> = Arc::default();
        let body = counted(Body::from("x"), load.enter());
        assert_eq!(load.in_flight(), 1);
        drop(body);
        assert_eq!(load.in_flight(), 0);
        let _empty = counted(Body::Empty, load.enter());
        assert_eq!(load.in_flight(), 0);
    }
}
