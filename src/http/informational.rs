//! Interim responses (1xx) for clients that understand them.

use ::http::{HeaderMap, StatusCode};

use super::{h1, h2};

/// Sends interim responses to the client. An exchange has one where the client understands them.
#[derive(Debug, Clone)]
pub(crate) enum Informational {
    Http1(h1::Interim),
    /// HTTP/3 as well.
    Http2(h2::Interim),
}

impl Informational {
    /// Sends one interim response. 100 and 101 are the connection's own business and are not sent; neither is what
    /// comes after the final head, or more than the client reads.
    pub(crate) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || matches!(status.as_u16(), 100 | 101) {
            return;
        }
        match self {
            Self::Http1(interim) => interim.send(status, headers),
            Self::Http2(interim) => interim.send(status, headers),
        }
    }
}
