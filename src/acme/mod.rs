//! Certificates from an ACME authority (RFC 8555).

pub(crate) mod options;
