//! Services and requests for tests of this folder: no network, no files.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::{BuildError, Lookup, Service};
use crate::http::{Body, Connection, Exchange, Handler, ProxyError, Request, Response};
use crate::upstream;

pub(super) fn transport() -> Arc<upstream::Transport> {
    upstream::Transport::build(&upstream::Options::default()).unwrap()
}

/// A request of client 192.0.2.1, and its exchange.
pub(super) fn request(path: &str) -> (Request, Arc<Exchange>) {
    let address = "192.0.2.1:1234".parse().unwrap();
    let connection = Connection::new(address, "web".into(), None);
    let exchange = Arc::new(Exchange::new(Arc::new(connection), Instant::now()));
    let (parts, ()) = ::http::Request::builder().uri(path).body(()).unwrap().into_parts();
    (Request::new(Box::new(parts), Body::Empty, exchange.clone()), exchange)
}

/// The statuses of `count` answers of `service`.
pub(super) async fn answers(service: &dyn Service, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        let result = service.handle(request("/").0).await;
        let response = result.unwrap_or_else(ProxyError::into_response);
        statuses.push(response.status().as_u16());
    }
    statuses
}

struct Fake {
    name: &'static str,
    checked: bool,
    state: Mutex<State>,
}

struct State {
    up: bool,
    /// 0: no connection.
    status: u16,
    bodies: Vec<String>,
}

/// Services by name.
pub(super) struct Services(BTreeMap<&'static str, Arc<Fake>>);

impl Services {
    /// Names, and whether the service reports its health.
    pub(super) fn of(services: &[(&'static str, bool)]) -> Self {
        let fake = |&(name, checked): &(&'static str, bool)| {
            let state = Mutex::new(State { up: true, status: 200, bodies: Vec::new() });
            (name, Arc::new(Fake { name, checked, state }))
        };
        Self(services.iter().map(fake).collect())
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(&mut self.0[name].state.lock().unwrap());
    }

    pub(super) fn set_up(&self, name: &str, up: bool) {
        self.change(name, |state| state.up = up);
    }

    pub(super) fn answer_with(&self, name: &str, status: u16) {
        self.change(name, |state| state.status = status);
    }

    pub(super) fn fail(&self, name: &str) {
        self.answer_with(name, 0);
    }

    /// How many requests each got, by name.
    pub(super) fn hits(&self) -> Vec<(&'static str, usize)> {
        self.0.iter().map(|(name, fake)| (*name, fake.state.lock().unwrap().bodies.len())).collect()
    }

    pub(super) fn bodies(&self, name: &str) -> Vec<String> {
        self.0[name].state.lock().unwrap().bodies.clone()
    }
}

impl Lookup for Services {
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, BuildError> {
        match self.0.get(name) {
            Some(fake) => Ok(fake.clone()),
            None => Err(BuildError::Other(format!("the service \"{name}@p\" does not exist"))),
        }
    }

    fn transport(&self, name: &str) -> Result<Arc<upstream::Transport>, BuildError> {
        match name {
            "default@internal" => Ok(transport()),
            name => Err(BuildError::Other(format!("servers transport not found {name}@p"))),
        }
    }
}

#[async_trait]
impl Handler for Fake {
    async fn handle(&self, mut request: Request) -> Result<Response, ProxyError> {
        request.exchange().record().service = Some(self.name.into());
        let body = request.take_body().collect().await.unwrap().to_bytes();
        let mut state = self.state.lock().unwrap();
        state.bodies.push(String::from_utf8(body.to_vec()).unwrap());
        if state.status == 0 {
            return Err(ProxyError::Connect { server: self.name.into(), reason: "refused".into() });
        }
        let mut response = Response::new(Body::from("answer"));
        *response.status_mut() = state.status.try_into().unwrap();
        Ok(response)
    }
}

impl Service for Fake {
    fn up(&self) -> bool {
        self.state.lock().unwrap().up
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.checked {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this weighted service")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
