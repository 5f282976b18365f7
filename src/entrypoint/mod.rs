//! Entry points: sockets, PROXY protocol, limits, drain; and the path of one request.

pub(crate) mod options;

pub(crate) use options::Options;
