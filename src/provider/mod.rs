//! Providers: where dynamic configuration comes from.

pub(crate) mod consul_catalog;
pub(crate) mod docker;
pub(crate) mod ecs;
pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod kubernetes;
pub(crate) mod kv;
pub(crate) mod nomad;
pub(crate) mod rest;
pub(crate) mod swarm;
