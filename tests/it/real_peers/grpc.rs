//! grpcio on both sides: all four shapes of calls, metadata, statuses, deadlines.

use super::{output, python, server};
use crate::support::running::Running;

#[tokio::test]
async fn all_four_shapes_of_calls_work_in_clear_text_and_over_tls() {
    let mut command = python("grpc_server.py", "grpc", "python3-grpcio");
    let (_server, address) = server(&mut command).await;
    let running = Running::before(&format!("h2c://{address}")).await;
    let certificate = running.path("tls/cert.pem");
    let targets = [
        (running.address("web").to_string(), "insecure"),
        (format!("localhost:{}", running.address("secure").port()), certificate.to_str().unwrap()),
    ];
    for (target, security) in targets {
        let mut client = python("grpc_client.py", "grpc", "python3-grpcio");
        let text = output(client.env_remove("http_proxy").arg(&target).arg(security)).await;
        assert_eq!(text, "all calls as expected\n", "{target}");
    }
}
