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
    /// The host and the port that its first request has named: the next ones nearly always name the same.
    host: Remembered,
    port: Remembered,
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
            host: Remembered::default(),
            port: Remembered::default(),
        }
    }

    /// `host` as the value of a header; `None` where `is_valid` does not take it, or where it cannot be one.
    pub(crate) fn host(
        &self,
        host: &[u8],
        is_valid: impl FnOnce(&[u8]) -> bool,
    ) -> Option<HeaderValue> {
        self.host.value(host, is_valid)
    }

    /// `port` as the value of a header; `None` where it cannot be one.
    pub(crate) fn port(&self, port: &[u8]) -> Option<HeaderValue> {
        self.port.value(port, |_any| true)
    }
}

/// The first valid value, for others that are the same.
#[derive(Debug, Default)]
struct Remembered(OnceLock<HeaderValue>);

impl Remembered {
    fn value(&self, text: &[u8], is_valid: impl FnOnce(&[u8]) -> bool) -> Option<HeaderValue> {
        match self.0.get() {
            Some(known) if known.as_bytes() == text => Some(known.clone()),
            _ if is_valid(text) => {
                let value = HeaderValue::from_bytes(text).ok()?;
                self.0.get_or_init(|| value.clone());
                Some(value)
            }
            _ => None,
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
