//! A server that says its name: what stands behind the peers of the demo.

use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::task::Group;

/// Largest head that is read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Starts the server on a free port; its URL.
pub(super) async fn start(name: &'static str, tasks: &Group) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                // A client that goes away is no news.
                drop(serve(stream, name).await);
            });
        }
    });
    Ok(url)
}

async fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let kind = HeaderValue::from_static("text/plain");
    let mut buffer = Vec::new();
    loop {
        while !buffer.windows(4).any(|end| end == b"\r\n\r\n") {
            if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let end = buffer.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(0) + 4;
        let head: Vec<u8> = buffer.drain(..end).collect();
        let target = String::from_utf8_lossy(&head);
        let target = target.split(' ').nth(1).unwrap_or("/");
        let body = format!("{name} answers {target}\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{CONTENT_TYPE}: {}\r\nContent-Length: {}\r\n\r\n{body}",
            kind.to_str().unwrap_or_default(),
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
