//! A small HTTP/1.1 client that waits, for commands.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::Uri;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read as a whole.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// Longest line of a head.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Most lines of a head.
const LINES_MAX: usize = 200;

/// Who is asked, and how. Each call has a connection of its own.
#[derive(Clone)]
pub(super) struct Client {
    /// What paths of calls are below.
    pub(super) base: Uri,
    pub(super) token: Option<String>,
    /// File with certificates (PEM) that are trusted for https beside the public ones.
    pub(super) authorities: Option<PathBuf>,
    /// Longest wait for the next byte.
    pub(super) read_timeout: Duration,
}

/// A call.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// Below the API's address, with the query.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// What `Host` says. Default: the host of the URL.
    pub(super) host: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'a str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), ..Self::default() }
    }
}

/// An answer, whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    body: BodyReader,
}

impl Client {
    /// Asks `address` (host and port) over plain HTTP.
    pub(super) fn plain(address: &str, read_timeout: Duration) -> anyhow::Result<Self> {
        let base = Uri::builder().scheme("http").authority(address).path_and_query("/").build();
        let base = base.with_context(|| format!("`{address}` is no address"))?;
        Ok(Self { base, token: None, authorities: None, read_timeout })
    }

    /// Makes the call; any answer will do.
    pub(super) fn send(&self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let authority = self.base.authority().context("the URL names no host")?;
        let path = format!("{}{}", self.base.path().trim_end_matches('/'), call.path);
        let host = call.host.unwrap_or(authority.as_str());
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", call.method);
        head.push_str("Connection: close\r\nAccept: */*\r\n");
        if let Some(token) = &self.token {
            ensure!(
                token.bytes().all(|byte| byte.is_ascii_graphic()),
                "the token has odd characters"
            );
            write!(head, "Authorization: Bearer {token}\r\n")?;
        }
        for (name, value) in &call.headers {
            ensure!(!value.contains(['\r', '\n']), "the value of {name} has several lines");
            write!(head, "{name}: {value}\r\n")?;
        }
        if !call.body.is_empty() || !matches!(call.method, "GET" | "HEAD") {
            write!(head, "Content-Length: {}\r\n", call.body.len())?;
        }
        head.push_str("\r\n");
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes())?;
        // An answer may come before all is sent, such as 413; it says more than the broken pipe.
        let sent = stream.write_all(&call.body).and_then(|()| stream.flush());
        let mut reader = BufReader::new(stream);
        match read_head(&mut reader) {
            Ok((status, framing)) => {
                let framing = if call.method == "HEAD" { Framing::Length(0) } else { framing };
                Ok(Answer { status, body: BodyReader { reader, framing } })
            }
            Err(error) => {
                sent.context("sending the request")?;
                Err(error)
            }
        }
    }

    fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let secure = match self.base.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("the URL must begin with http:// or https://"),
        };
        let host = self.base.host().context("the URL names no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.base.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut last = None;
        let mut stream = None;
        for address in (bare, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        let Some(stream) = stream else {
            return Err(last.map_or_else(|| anyhow::anyhow!("`{host}` has no address"), Into::into));
        };
        stream.set_read_timeout(Some(self.read_timeout))?;
        stream.set_write_timeout(Some(self.read_timeout))?;
        if !secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(bare.to_owned())?;
        let connection = rustls::ClientConnection::new(Arc::new(self.tls()?), name)?;
        Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
    }

    fn tls(&self) -> anyhow::Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = &self.authorities {
            let reading = || format!("reading {}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).with_context(reading)? {
                roots.add(certificate.with_context(reading)?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// How the end of a body is known.
enum Framing {
    Length(u64),
    /// What is left of the chunk; `None` before the first.
    Chunked(Option<u64>),
    Close,
}

struct BodyReader {
    reader: BufReader<Box<dyn Stream>>,
    framing: Framing,
}

fn line(reader: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = Vec::new();
    reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    ensure!(line.ends_with(b"\n"), "the connection ended within the answer's head");
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_head(reader: &mut impl BufRead) -> anyhow::Result<(u16, Framing)> {
    loop {
        let first = line(reader)?;
        let status: u16 = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .context("the answer is no HTTP")?;
        let mut framing = Framing::Close;
        for number in 0.. {
            ensure!(number < LINES_MAX, "the answer's head is too long");
            let line = line(reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            if name.eq_ignore_ascii_case("transfer-encoding") {
                ensure!(value.eq_ignore_ascii_case("chunked"), "unknown encoding {value}");
                framing = Framing::Chunked(None);
            } else if name.eq_ignore_ascii_case("content-length")
                && matches!(framing, Framing::Close)
            {
                framing = Framing::Length(value.parse().context("the answer has no length")?);
            }
        }
        match status {
            100..=199 => {}
            204 | 304 => return Ok((status, Framing::Length(0))),
            _ => return Ok((status, framing)),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Framing::Chunked(left) = &mut self.framing
            && matches!(left, None | Some(0))
        {
            match next_chunk(&mut self.reader, left.is_some()).map_err(std::io::Error::other)? {
                0 => self.framing = Framing::Length(0),
                size => *left = Some(size),
            }
        }
        let left = match &mut self.framing {
            Framing::Close => return self.reader.read(buffer),
            Framing::Length(left) | Framing::Chunked(Some(left)) => left,
            Framing::Chunked(None) => return Ok(0),
        };
        let size = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..size).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let read = self.reader.read(part)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        Ok(read)
    }
}

/// The size of the next chunk; 0 at the end, with the trailer read.
fn next_chunk(reader: &mut impl BufRead, after_another: bool) -> anyhow::Result<u64> {
    if after_another {
        ensure!(line(reader)?.is_empty(), "a chunk of the answer is longer than it said");
    }
    let head = line(reader)?;
    let size = head.split(';').next().unwrap_or_default().trim();
    let size = u64::from_str_radix(size, 16).context("a chunk of the answer has no size")?;
    if size == 0 {
        for _ in 0..LINES_MAX {
            if line(reader)?.is_empty() {
                break;
            }
        }
    }
    Ok(size)
}

impl Answer {
    /// The whole body.
    pub(super) fn bytes(self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body
            .take(ANSWER_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .context("reading the answer")?;
        ensure!(bytes.len() as u64 <= ANSWER_BYTES_MAX, "the answer is too large");
        Ok(bytes)
    }

    /// The body as it comes, line by line.
    pub(super) fn lines(self) -> impl Iterator<Item = std::io::Result<String>> {
        BufReader::new(self.body).lines()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(answer: &str) -> anyhow::Result<(u16, String)> {
        let stream: Box<dyn Stream> = Box::new(Cursor::new(answer.as_bytes().to_vec()));
        let mut reader = BufReader::new(stream);
        let (status, framing) = read_head(&mut reader)?;
        let body = Answer { status, body: BodyReader { reader, framing } }.bytes()?;
        Ok((status, String::from_utf8(body)?))
    }

    #[test]
    fn bodies_end_by_length_chunks_or_the_connection() {
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", "ab"),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n",
                "abc",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a"),
        ] {
            assert_eq!(read(answer).unwrap(), (200, body.to_owned()));
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        for answer in [
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        ] {
            assert!(read(answer).is_err(), "{answer}");
        }
    }
}
