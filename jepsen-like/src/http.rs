//! A client of HTTP/1.1 (RFC 9112) that knows whether a failed request may have been carried out.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Longest head of an answer, and longest line of a chunk's size.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest body of an answer.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing was sent.
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("connecting took too long")]
    ConnectTimeout,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is not HTTP/1.1: {0}")]
    Malformed(&'static str),
}

impl Error {
    /// True if the request cannot have been carried out.
    pub(crate) fn before_sending(&self) -> bool {
        match self {
            Self::Connect(_) | Self::ConnectTimeout => true,
            Self::Broken(_) | Self::Timeout | Self::Malformed(_) => false,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: &'a str,
    pub(crate) headers: &'a [(&'a str, String)],
    pub(crate) body: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header; names are in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that stays open between requests.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    reusable: bool,
}

impl Connection {
    pub(crate) async fn open(address: &str, deadline: Instant) -> Result<Self, Error> {
        let stream = timeout_at(deadline, TcpStream::connect(address))
            .await
            .map_err(|_elapsed| Error::ConnectTimeout)?
            .map_err(Error::Connect)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), reusable: true })
    }

    /// False after an answer that was the last one, or after an error.
    pub(crate) fn reusable(&self) -> bool {
        self.reusable
    }

    pub(crate) async fn send(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, Error> {
        self.reusable = false;
        let response = timeout_at(deadline, self.exchange(request))
            .await
            .map_err(|_elapsed| Error::Timeout)??;
        let close = response.header("connection").is_some_and(|value| {
            value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"))
        });
        self.reusable = !close;
        Ok(response)
    }

    async fn exchange(&mut self, request: &Request<'_>) -> Result<Response, Error> {
        let Request { method, target, host, headers, body } = request;
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in *headers {
            text.extend([*name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            text.push_str("Content-Type: application/json\r\n");
        }
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n", body]);
        self.stream.write_all(text.as_bytes()).await?;
        loop {
            let mut response = self.head().await?;
            if (100..200).contains(&response.status) {
                continue;
            }
            response.body = self.body(&response).await?;
            return Ok(response);
        }
    }

    async fn head(&mut self) -> Result<Response, Error> {
        let mut left = HEAD_BYTES_MAX;
        let first = self.line(&mut left).await?;
        let mut words = first.split(' ');
        let status = match (words.next(), words.next()) {
            (Some("HTTP/1.1"), Some(status)) => status.parse().ok(),
            _ => None,
        };
        let status = status.ok_or(Error::Malformed("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line(&mut left).await?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) =
                line.split_once(':').ok_or(Error::Malformed("a header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn body(&mut self, head: &Response) -> Result<Vec<u8>, Error> {
        if matches!(head.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if head
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return self.chunks().await;
        }
        let length = head.header("content-length").ok_or(Error::Malformed("no length"))?;
        let length = length.parse().map_err(|_error| Error::Malformed("no length"))?;
        let mut body = Vec::new();
        self.take(length, &mut body).await?;
        Ok(body)
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let mut left = BODY_BYTES_MAX;
        loop {
            let line = self.line(&mut left).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_error| Error::Malformed("no size of a chunk"))?;
            if size == 0 {
                while !self.line(&mut left).await?.is_empty() {}
                return Ok(body);
            }
            self.take(size, &mut body).await?;
            if !self.line(&mut left).await?.is_empty() {
                return Err(Error::Malformed("a chunk without an end"));
            }
        }
    }

    /// Adds exactly `length` bytes to `body`.
    async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> Result<(), Error> {
        if body.len().saturating_add(length) > BODY_BYTES_MAX {
            return Err(Error::Malformed("a body that is too long"));
        }
        let from = body.len();
        body.resize(from + length, 0);
        let Some(rest) = body.get_mut(from..) else { return Ok(()) };
        self.stream.read_exact(rest).await?;
        Ok(())
    }

    /// A line without its end, which must be there.
    async fn line(&mut self, left: &mut usize) -> Result<String, Error> {
        let mut line = Vec::new();
        let limit = u64::try_from(*left).unwrap_or(u64::MAX);
        (&mut self.stream).take(limit).read_until(b'\n', &mut line).await?;
        if line.is_empty() && *left > 0 {
            return Err(Error::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        *left -= line.len();
        let line = line.strip_suffix(b"\r\n").ok_or(Error::Malformed("a line without an end"))?;
        String::from_utf8(line.to_vec()).map_err(|_error| Error::Malformed("a head in no UTF-8"))
    }
}

/// One request on a connection of its own.
pub(crate) async fn once(
    address: &str,
    request: &Request<'_>,
    limit: Duration,
) -> Result<Response, Error> {
    let deadline = Instant::now() + limit;
    Connection::open(address, deadline).await?.send(request, deadline).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of a server that says `answer` and closes.
    async fn answered(answer: &'static str) -> Result<Response, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let _bytes = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let request = Request { method: "GET", target: "/", host: "a", ..Request::default() };
        let (response, ()) = tokio::join!(once(&address, &request, Duration::from_secs(5)), server);
        response
    }

    #[tokio::test]
    async fn bodies_have_a_length_or_chunks() {
        let plain = answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: \"7\"\r\n\r\nabc");
        let plain = plain.await.unwrap();
        assert_eq!((plain.status, plain.text().as_str()), (200, "abc"));
        assert_eq!(plain.header("etag"), Some("\"7\""));
        let chunked = answered(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        );
        assert_eq!(chunked.await.unwrap().text(), "abc");
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_may_have_been_carried_out() {
        for answer in
            ["", "HTTP/1.1 200 OK\r\nCont", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"]
        {
            assert!(!answered(answer).await.unwrap_err().before_sending(), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_has_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let request = Request { method: "GET", target: "/", host: "a", ..Request::default() };
        let error = once(&address, &request, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.before_sending());
    }
}
