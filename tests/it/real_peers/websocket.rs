//! Python's `websockets`: client in front, a thousand messages, over TLS as well.

use super::{output, python};
use crate::support::running::{Running, echo};

#[tokio::test]
async fn a_thousand_messages_come_back_in_order() {
    let (_backend, address) = echo("app", "http").await;
    let running = Running::before(&format!("http://{address}")).await;
    let (web, secure) = (running.address("web"), running.address("secure").port());
    for url in [format!("ws://{web}/chat"), format!("wss://localhost:{secure}/chat")] {
        let text = output(
            python("websocket_client.py", "websockets", "python3-websockets")
                .arg(&url)
                .arg(running.path("tls/cert.pem")),
        )
        .await;
        assert_eq!(text, "1000 messages, subprotocol chat\n", "{url}");
    }
}
