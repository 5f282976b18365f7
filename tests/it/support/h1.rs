//! HTTP/1 by hand: tests must send bytes as written and see names as they were on the wire.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

/// A byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A head: start line and headers as they were on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        joined(&self.headers, name)
    }
}

/// All values of a header, joined.
pub(crate) fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> = headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Reads one message after the other from a stream.
pub(crate) struct Reader<S> {
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
}

/// A message's body, when its pieces came, and its trailers.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// When each piece ended, with the length of the body until then.
    pub(crate) arrivals: Vec<(usize, Instant)>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    async fn more(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 16384];
        let count = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut chunk))
            .await
            .map_err(|_elapsed| std::io::Error::other("no data for 20 s"))??;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// The next head; `None` at the end of the stream.
    pub(crate) async fn head(&mut self) -> std::io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let text = String::from_utf8_lossy(&text).into_owned();
                let mut lines = text.split("\r\n");
                let start = lines.next().unwrap_or_default().to_owned();
                return Ok(Some(Head { start, headers: fields(lines) }));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The body behind `head`. `until_end`: without a length it ends with the stream.
    pub(crate) async fn body(&mut self, head: &Head, until_end: bool) -> std::io::Result<Body> {
        let mut body = Body::default();
        let chunked = head
            .get("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        if chunked {
            loop {
                let line = self.line().await?;
                let size =
                    usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                        .map_err(|error| {
                            std::io::Error::other(format!("chunk size {line:?}: {error}"))
                        })?;
                if size == 0 {
                    let mut lines = Vec::new();
                    loop {
                        let line = self.line().await?;
                        if line.is_empty() {
                            break;
                        }
                        lines.push(line);
                    }
                    body.trailers = fields(lines.iter().map(String::as_str));
                    return Ok(body);
                }
                self.exactly(size, &mut body).await?;
                self.line().await?;
            }
        }
        if let Some(length) = head.get("content-length") {
            let length = length.parse().map_err(std::io::Error::other)?;
            self.exactly(length, &mut body).await?;
        } else if until_end {
            loop {
                body.bytes.append(&mut self.buffer);
                body.arrivals.push((body.bytes.len(), Instant::now()));
                if !self.more().await? {
                    break;
                }
            }
        }
        Ok(body)
    }

    async fn exactly(&mut self, length: usize, body: &mut Body) -> std::io::Result<()> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(std::io::Error::other("the body ends early"));
            }
        }
        body.bytes.extend(self.buffer.drain(..length));
        body.arrivals.push((body.bytes.len(), Instant::now()));
        Ok(())
    }

    async fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await? {
                return Err(std::io::Error::other("a line ends early"));
            }
        }
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
