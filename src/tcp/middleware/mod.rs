//! TCP middlewares: what a connection must pass before a server is asked.

mod in_flight_conn;
mod ip_allow_list;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use super::options;

/// Kept as long as the connection lasts.
pub(crate) type Guard = Box<dyn Any + Send>;

/// Whether a client may go on.
pub(crate) enum Admission {
    Refused,
    Admitted(Option<Guard>),
}

/// Lets connections pass, or not.
pub(crate) trait Middleware: Send + Sync {
    /// Decides about a connection of `client`; one that is refused is closed without a word.
    fn admit(&self, client: IpAddr) -> Admission;
}

/// Why a middleware cannot be built. Texts are Traefik's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(
        "invalid middleware \"{0}\" configuration: invalid middleware type or middleware does not exist"
    )]
    NoType(String),
    #[error("invalid middleware \"{0}\": several types are set")]
    MultipleTypes(String),
    #[error("sourceRange is empty, IPAllowLister not created")]
    NoRange,
    #[error("sourceRange: `{0}` is neither an address nor a network")]
    Network(String),
}

/// Builds the middleware `name`, which is qualified.
pub(crate) fn build(
    options: &options::Middleware,
    name: &str,
) -> Result<Arc<dyn Middleware>, BuildError> {
    let options::Middleware { in_flight_conn, ip_allow_list, ip_white_list } = options;
    let mut lists = ip_allow_list.iter().chain(ip_white_list);
    match (in_flight_conn, lists.next(), lists.next()) {
        (Some(options), None, None) => Ok(Arc::new(in_flight_conn::InFlightConn::new(options))),
        (None, Some(options), None) => Ok(Arc::new(ip_allow_list::IpAllowList::new(options)?)),
        (None, None, None) => Err(BuildError::NoType(name.to_owned())),
        _ => Err(BuildError::MultipleTypes(name.to_owned())),
    }
}

/// True for a middleware that counts for each router by itself, as in Traefik.
pub(crate) fn is_per_router(options: &options::Middleware) -> bool {
    options.in_flight_conn.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(options: Value) -> Result<Arc<dyn Middleware>, String> {
        let options: options::Middleware = serde_json::from_value(options).unwrap();
        build(&options, "m@p").map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_type_is_needed() {
        assert!(built(json!({})).err().unwrap().contains("invalid middleware \"m@p\""));
        let two = json!({"ipAllowList": {"sourceRange": ["::1"]}, "inFlightConn": {"amount": 1}});
        assert!(built(two).err().unwrap().contains("several types"));
        assert!(built(json!({"ipWhiteList": {"sourceRange": ["::1"]}})).is_ok());
    }
}
