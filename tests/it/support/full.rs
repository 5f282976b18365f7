//! A server that takes no connection any more.

use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// An address where nobody accepts any more: what connects there waits.
pub(crate) struct Full {
    pub(crate) address: String,
    _listener: TcpListener,
    _waiting: Vec<tokio::task::JoinHandle<()>>,
}

impl Full {
    pub(crate) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // As many as are needed until one has to wait.
        while let Ok(stream) =
            timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            waiting.push(tokio::spawn(async move {
                let _kept = stream;
                std::future::pending::<()>().await;
            }));
        }
        Self { address: address.to_string(), _listener: listener, _waiting: waiting }
    }
}
