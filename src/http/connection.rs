//! What is known of a client's connection: computed once, shared by all its requests.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use ::http::HeaderValue;
use rustls_pki_types::CertificateDer;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client: the sender of the PROXY header where one was accepted, else the socket's peer.
    pub(crate) remote: SocketAddr,
    /// The entry point's name.
    pub(crate) entry_point: Arc<str>,
    /// `remote`'s IP as text, without zone: what goes to `X-Forwarded-For` and `X-Real-Ip`.
    pub(crate) remote_ip: HeaderValue,
    /// Present on TLS.
    pub(crate) tls: Option<TlsSession>,
    /// Whether `remote_ip` goes to `X-Forwarded-For`: entry-point option `forwardedHeaders.notAppendXForwardedFor`.
    pub(crate) append_forwarded_for: bool,
    /// The port that its first request has named: the next ones nearly always name the same.
    port: OnceLock<HeaderValue>,
}

impl Connection {
    pub(crate) fn new(remote: SocketAddr, entry_point: Arc<str>, tls: Option<TlsSession>) -> Self {
        let remote_ip = HeaderValue::try_from(remote.ip().to_canonical().to_string())
            .unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            remote,
            entry_point,
            remote_ip,
            tls,
            append_forwarded_for: true,
            port: OnceLock::new(),
        }
    }

    /// `port` as the value of a header; `None` where it cannot be one.
    pub(crate) fn port(&self, port: &str) -> Option<HeaderValue> {
        match self.port.get() {
            Some(known) if known == port => Some(known.clone()),
            _ => {
                let value = HeaderValue::from_str(port).ok()?;
                self.port.get_or_init(|| value.clone());
                Some(value)
            }
        }
    }
}

/// What a TLS handshake settled.
#[derive(Debug)]
pub(crate) struct TlsSession {
    /// As Traefik writes it in logs and metrics: `1.2`, `1.3`.
    pub(crate) version: &'static str,
    /// The IANA name, such as `TLS_AES_128_GCM_SHA256`.
    pub(crate) cipher: &'static str,
    /// In lower case; `None` where the client sent none.
    pub(crate) server_name: Option<Arc<str>>,
    /// The TLS options in force for the handshake, qualified; `default` for the default ones.
    pub(crate) options: Arc<str>,
    /// The client's certificates, leaf first; empty where none was sent.
    pub(crate) peer_certificates: Vec<CertificateDer<'static>>,
}
