//! Who may call, and how much: roles of tokens, sizes, calls at once.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::peers::{Call, Peers, json, router};
use crate::support::h1::Reader;
use crate::support::running::eventually;

#[tokio::test]
async fn calls_are_bounded_by_role_size_and_number() {
    let peers = Peers::serving("").await;
    roles_allow_what_they_say(&peers).await;
    large_bodies_are_refused_before_they_are_read(&peers).await;
    too_many_writes_at_once_are_refused(&peers).await;
    a_token_ends_when_its_line_goes(&peers).await;
}

async fn roles_allow_what_they_say(peers: &Peers) {
    let put = router("/role", 1);
    let calls = [
        ("GET", "/api/cluster", "", [200, 200, 200, 200]),
        ("GET", "/api/config", "", [401, 200, 200, 200]),
        ("GET", "/api/config/history", "", [401, 200, 200, 200]),
        ("PUT", "/api/config/http/routers/role", &*put, [401, 403, 201, 200]),
        ("GET", "/api/cluster/backup", "", [401, 403, 403, 200]),
        // Nothing that could be restored; the role is asked first.
        ("POST", "/api/cluster/restore", "x", [401, 403, 403, 422]),
    ];
    for (method, path, body, statuses) in calls {
        let tokens = ["", &peers.read, &peers.write, &peers.admin];
        for (token, status) in tokens.into_iter().zip(statuses) {
            let call = Call { method, path, body, token: Some(token), ..Call::default() };
            let answer = peers.send(1, &call).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            if status == 401 {
                assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            }
        }
    }
    let wrong =
        Call { method: "GET", path: "/api/config", token: Some("pontoon_0"), ..Call::default() };
    assert_eq!(peers.send(0, &wrong).await.status, 401);
    for path in ["/api/cluster/restore?dryRun=true", "/api/cluster/restore"] {
        let headers = vec![("If-Match", "*".to_owned())];
        let call = Call { method: "POST", path, headers, body: "x", token: Some(&peers.admin) };
        assert_eq!(peers.send(0, &call).await.status, 400, "what it would ignore is refused");
    }
}

/// The head of a write of a whole document whose body is still to come.
async fn begun(peers: &Peers, length: usize) -> Reader<TcpStream> {
    let mut stream = TcpStream::connect(peers.api(2)).await.unwrap();
    let head = format!(
        "PUT /api/config HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
        peers.write
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    Reader::new(stream)
}

async fn large_bodies_are_refused_before_they_are_read(peers: &Peers) {
    let mut reader = begun(peers, (8 << 20) + 1).await;
    let head = reader.head().await.unwrap().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 413"), "{}", head.start);
    let large = format!(r#"{{"rule":"Path(`/{}`)","service":"app"}}"#, "a".repeat(100_000));
    let answer = peers.put(2, "http/routers/large", &large).await;
    assert_eq!(answer.status, 201, "far below the limit: {}", answer.text());
    assert_eq!(peers.call(2, "DELETE", "/api/config/http/routers/large").await.status, 204);
}

async fn too_many_writes_at_once_are_refused(peers: &Peers) {
    let mut held = Vec::new();
    // Permits are counted by size: 16 documents of the largest size.
    for _ in 0..16 {
        let mut reader = begun(peers, 10).await;
        let head = reader.head().await.unwrap().unwrap();
        assert!(head.start.starts_with("HTTP/1.1 100"), "its body is waited for: {}", head.start);
        held.push(reader);
    }
    let refused = peers.put(2, "http/routers/more", &router("/more", 1)).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(json(&refused)["status"], 429);
    // Other peers, and reads, are not concerned.
    assert_eq!(peers.put(1, "http/routers/more", &router("/more", 2)).await.status / 100, 2);
    assert_eq!(peers.call(2, "GET", "/api/config").await.status, 200);
    drop(held);
    eventually("a write again", || async {
        let answer = peers.put(2, "http/routers/more", &router("/more", 3)).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

async fn a_token_ends_when_its_line_goes(peers: &Peers) {
    let file = peers.folder.path().join("tokens");
    let lines = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = lines.lines().filter(|line| !line.starts_with("wim ")).collect();
    std::fs::write(peers.folder.path().join("new"), kept.join("\n")).unwrap();
    std::fs::rename(peers.folder.path().join("new"), &file).unwrap();
    eventually("401", || async {
        let answer = peers.call(0, "GET", "/api/config").await;
        (answer.status == 401).then_some(())
    })
    .await;
    let call =
        Call { method: "GET", path: "/api/config", token: Some(&peers.read), ..Call::default() };
    assert_eq!(peers.send(0, &call).await.status, 200, "the others stay");
}
