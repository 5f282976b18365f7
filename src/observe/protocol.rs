//! What is spoken over HTTP: label `protocol` of the metrics.
//!
//! Traefik v3: observability, `protocol` of the HTTP metrics.

use ::http::HeaderMap;
use ::http::header::{ACCEPT, CONTENT_TYPE, UPGRADE};

const GRPC_STATUS: &str = "grpc-status";

/// What is spoken over HTTP. Where the headers speak of several, the later one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    ServerSentEvents,
    WebSocket,
    Grpc,
    GrpcWeb,
}

impl Protocol {
    /// By the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut protocol = Self::Http;
        for (name, value) in headers {
            let value = value.as_bytes();
            let found = if *name == CONTENT_TYPE && begins(value, b"application/grpc-web") {
                Self::GrpcWeb
            } else if *name == CONTENT_TYPE && begins(value, b"application/grpc") {
                Self::Grpc
            } else if *name == UPGRADE && value.eq_ignore_ascii_case(b"websocket") {
                Self::WebSocket
            } else if *name == ACCEPT && begins(value, b"text/event-stream") {
                Self::ServerSentEvents
            } else {
                continue;
            };
            protocol = protocol.max(found);
        }
        protocol
    }

    /// As the label has it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::ServerSentEvents => "sse",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
        }
    }

    /// True where the answer's code stands in `grpc-status`.
    pub(crate) fn has_grpc_status(self) -> bool {
        match self {
            Self::Grpc | Self::GrpcWeb => true,
            Self::Http | Self::WebSocket | Self::ServerSentEvents => false,
        }
    }
}

fn begins(value: &[u8], prefix: &[u8]) -> bool {
    value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The gRPC code in a response's headers or trailers. Codes above 999 are nobody's.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    let code = headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    (code < 1000).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::header::HeaderName;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn protocols_are_told_by_headers() {
        let cases = [
            (headers(CONTENT_TYPE, "application/grpc+proto"), "grpc"),
            (headers(CONTENT_TYPE, "application/grpc-web-text"), "grpc-web"),
            (headers(UPGRADE, "WebSocket"), "websocket"),
            (headers(ACCEPT, "text/event-stream"), "sse"),
            (headers(ACCEPT, "*/*"), "http"),
            (HeaderMap::new(), "http"),
        ];
        for (headers, label) in cases {
            assert_eq!(Protocol::of(&headers).label(), label);
        }
    }

    #[test]
    fn grpc_status_is_a_small_number() {
        let name = HeaderName::from_static(GRPC_STATUS);
        assert_eq!(grpc_status(&headers(name.clone(), "14")), Some(14));
        assert_eq!(grpc_status(&headers(name.clone(), "65000")), None);
        assert_eq!(grpc_status(&headers(name, "x")), None);
    }
}
