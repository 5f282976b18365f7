//! TLS for clients: certificate and options by SNI, from the tables of the plan.

mod accept;
pub(crate) mod certificate;
mod client_auth;
mod config;
pub(crate) mod hello;
pub(crate) mod ocsp;
pub(crate) mod options;
pub(crate) mod quic;
mod tables;

pub(crate) use accept::{AcceptError, Accepted, Session, accept, accept_as};
pub(crate) use certificate::{Certificates, Pair};
pub(crate) use config::{Acceptance, Resumption, build};
pub(crate) use tables::Tables;
