//! Writes through any peer: in force everywhere, with conditions, dry runs, keys, history and rollback.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json as value};

use super::peers::{ALL, Call, Peers, json, router};

/// One cluster for all of it.
#[tokio::test]
async fn writes_do_what_they_say_through_any_peer() {
    let peers = Peers::serving("").await;
    a_write_is_in_force_on_all_peers_when_all_were_waited_for(&peers).await;
    a_stale_condition_is_refused_with_the_current_revision(&peers).await;
    presence_is_met_whoever_else_writes(&peers).await;
    a_dry_run_changes_nothing(&peers).await;
    a_key_makes_the_first_answer_come_again(&peers).await;
    what_is_invalid_is_refused_whole(&peers).await;
    history_tells_and_rollback_brings_back(&peers).await;
}

async fn a_write_is_in_force_on_all_peers_when_all_were_waited_for(peers: &Peers) {
    for asked in ALL {
        let path = format!("/through-{asked}");
        assert_eq!(peers.proxied(asked, &path).await, 404);
        let call = format!("http/routers/through-{asked}?wait=all");
        let answer = peers.put(asked, &call, &router(&path, 10)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let body = json(&answer);
        let all =
            ["edge-1", "edge-2", "edge-3"].map(|name| value!({"name": name, "applied": true}));
        let mut told = body["peers"].as_array().unwrap().clone();
        told.sort_by_key(|peer| peer["name"].to_string());
        assert_eq!((&body["applied"], &told[..]), (&value!(true), &all[..]));
        for peer in ALL {
            assert_eq!(peers.proxied(peer, &path).await, 200, "{} serves it", peers.all[peer].name);
        }
        // The peer that was asked knows at once what all of them have: one revision, one digest.
        let status = peers.status(asked).await;
        let listed = status["peers"].as_array().unwrap();
        assert_eq!(listed.len(), 3);
        for peer in listed {
            let pair = (&peer["revision"], &peer["planDigest"]);
            assert_eq!(pair, (&body["revision"], &status["planDigest"]), "{status}");
            assert_eq!((&peer["ready"], &peer["reachable"]), (&value!(true), &value!(true)));
        }
        let tag = format!("\"{}\"", body["revision"]);
        assert_eq!(answer.header("etag"), Some(tag));
    }
}

async fn conditional(
    peers: &Peers,
    peer: usize,
    name: &str,
    condition: (&'static str, &str),
) -> (u16, Value) {
    let path = format!("/api/config/http/routers/{name}");
    let headers = vec![(condition.0, condition.1.to_owned())];
    let body = router(&format!("/{name}"), next_priority());
    let call = Call { method: "PUT", path: &path, headers, body: &body, token: None };
    let answer = peers.send(peer, &call).await;
    (answer.status, json(&answer))
}

/// A priority that no other write has, so that each write changes something.
fn next_priority() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn a_stale_condition_is_refused_with_the_current_revision(peers: &Peers) {
    let (status, body) = conditional(peers, 0, "cond", ("If-Match", "*")).await;
    assert_eq!((status, &body["revision"]), (412, &value!(0)), "{body}");
    let (status, first) = conditional(peers, 0, "cond", ("If-None-Match", "*")).await;
    assert_eq!(status, 201);
    let tag = format!("\"{}\"", first["revision"]);
    let (status, second) = conditional(peers, 1, "cond", ("If-Match", &tag)).await;
    assert_eq!(status, 200, "{second}");
    for (peer, condition) in [(2, ("If-Match", &*tag)), (1, ("If-None-Match", "*"))] {
        let (status, body) = conditional(peers, peer, "cond", condition).await;
        assert_eq!((status, &body["revision"]), (412, &second["revision"]), "{condition:?}");
    }
    let call = Call {
        method: "PUT",
        path: "/api/config",
        headers: vec![("If-Match", "\"1\"".to_owned())],
        body: "{}",
        token: None,
    };
    let answer = peers.send(2, &call).await;
    let current = peers.revision(0).await;
    assert_eq!((answer.status, &json(&answer)["revision"]), (412, &value!(current)));
}

/// `If-Match: *` asks whether there is something, not whether it is still what a peer has read before.
async fn presence_is_met_whoever_else_writes(peers: &Peers) {
    let done = AtomicBool::new(false);
    let others = async {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(conditional(peers, 1, "cond", ("X-None", "")).await.0, 200);
        }
    };
    let present = async {
        for turn in 0..15 {
            let (status, body) = conditional(peers, turn % 3, "cond", ("If-Match", "*")).await;
            assert_eq!(status, 200, "{body}");
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(others, present);
}

async fn a_dry_run_changes_nothing(peers: &Peers) {
    let before = peers.revision(0).await;
    let answer = peers.put(1, "http/routers/dry?dryRun=true", &router("/dry", 1)).await;
    let changes = value!([{"path": "http.routers.dry", "change": "created"}]);
    assert_eq!((answer.status, &json(&answer)["changes"]), (200, &changes));
    let answer = peers.call(2, "DELETE", "/api/config/http/routers/cond?dryRun=true").await;
    assert_eq!(json(&answer)["changes"][0]["change"], "deleted");
    let path = format!("/api/config/rollback?revision={}&dryRun=true", before - 1);
    assert_eq!(peers.call(0, "POST", &path).await.status, 200);
    assert_eq!(peers.put(0, "http/routers/dry?dryRun=true", r#"{"rule":"No("}"#).await.status, 422);
    assert_eq!(peers.revision(0).await, before);
    assert_eq!(peers.call(0, "GET", "/api/config/http/routers/dry").await.status, 404);
    assert_eq!(peers.proxied(1, "/dry").await, 404);
}

async fn keyed(
    peers: &Peers,
    peer: usize,
    (method, path): (&str, &str),
    more: &[(&'static str, &str)],
    body: &str,
) -> (u16, Value) {
    let headers = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let answer = peers.send(peer, &Call { method, path, headers, body, token: None }).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Whatever happens in between, and through whichever peer it comes.
async fn a_key_makes_the_first_answer_come_again(peers: &Peers) {
    let patch = |rule: &str| {
        format!(
            r#"{{"http":{{"routers":{{"keyed":{{"rule":"PathPrefix(`{rule}`)","service":"app"}}}}}}}}"#
        )
    };
    let before = peers.revision(0).await;
    let tag = format!("\"{before}\"");
    let more = [("Idempotency-Key", "patch-1"), ("If-Match", &*tag)];
    let call = ("PATCH", "/api/config");
    let first = keyed(peers, 0, call, &more, &patch("/keyed")).await;
    assert_eq!(first.0, 200, "{}", first.1);
    // Somebody else's write, to the same object.
    let other = peers.put(1, "http/routers/keyed", &router("/others", 7)).await;
    assert_eq!(other.status, 200);
    let again = keyed(peers, 2, call, &more, &patch("/keyed")).await;
    assert_eq!((again.0, &again.1["revision"]), (200, &first.1["revision"]), "{}", again.1);
    assert_eq!(again.1["changes"], first.1["changes"]);
    let now = json(&peers.call(0, "GET", "/api/config/http/routers/keyed").await);
    assert_eq!(now["rule"], "PathPrefix(`/others`)", "the other write stands");
    let (status, body) = keyed(peers, 2, call, &more, &patch("/else")).await;
    assert_eq!(status, 409, "another request with the same key: {body}");

    // A patch that has nothing to do is remembered as well.
    let more = [("Idempotency-Key", "patch-2")];
    let nothing = keyed(peers, 1, call, &more, &patch("/others")).await;
    assert_eq!(nothing.0, 200);
    assert_eq!(nothing.1["changes"], value!([]));
    assert_eq!(peers.put(1, "http/routers/keyed", &router("/third", 8)).await.status, 200);
    assert_eq!(keyed(peers, 0, call, &more, &patch("/others")).await.0, 200);
    let now = json(&peers.call(2, "GET", "/api/config/http/routers/keyed").await);
    assert_eq!(now["rule"], "PathPrefix(`/third`)", "it still does nothing");

    // Creating and deleting answer as they did, although nothing is there any more.
    let object = "/api/config/http/routers/once";
    let put =
        keyed(peers, 0, ("PUT", object), &[("Idempotency-Key", "put")], &router("/once", 1)).await;
    let delete = keyed(peers, 1, ("DELETE", object), &[("Idempotency-Key", "delete")], "").await;
    assert_eq!((put.0, delete.0), (201, 204));
    let put_again =
        keyed(peers, 2, ("PUT", object), &[("Idempotency-Key", "put")], &router("/once", 1)).await;
    let delete_again =
        keyed(peers, 2, ("DELETE", object), &[("Idempotency-Key", "delete")], "").await;
    assert_eq!((put_again.0, delete_again.0), (201, 204));
    assert_eq!(put_again.1["revision"], put.1["revision"]);
    assert_eq!(peers.call(0, "GET", object).await.status, 404);
}

async fn what_is_invalid_is_refused_whole(peers: &Peers) {
    let before = peers.revision(0).await;
    let document = r#"{"http":{"routers":{
        "fine":{"rule":"Path(`/fine`)","service":"app"},
        "bad":{"rule":"Pth(`/bad`)","service":"app"}}}}"#;
    let call = Call { method: "PATCH", path: "/api/config", body: document, ..Call::default() };
    let answer = peers.send(1, &call).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
    let errors = &json(&answer)["errors"];
    assert_eq!(errors.as_array().unwrap().len(), 1, "{errors}");
    assert!(errors[0]["path"].as_str().unwrap().contains("bad"), "{errors}");
    assert_eq!(peers.put(2, "http/routers/bad", "{").await.status, 400);
    assert_eq!(peers.put(2, "http/routers/bad", r#"{"rul":"x"}"#).await.status, 422);
    assert_eq!(peers.revision(2).await, before);
}

async fn history_tells_and_rollback_brings_back(peers: &Peers) {
    let answer = peers.put(0, "http/routers/past?wait=all", &router("/past", 1)).await;
    let with = json(&answer)["revision"].as_u64().unwrap();
    let answer = peers.call(1, "DELETE", "/api/config/http/routers/past?wait=all").await;
    let without = json(&answer)["revision"].as_u64().unwrap();
    assert_eq!(peers.proxied(2, "/past").await, 404);
    let history = json(&peers.call(1, "GET", "/api/config/history?limit=2").await);
    let told: Vec<_> = history.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2);
    for (change, (revision, what)) in told.iter().zip([(without, "deleted"), (with, "created")]) {
        assert_eq!(change["revision"], revision);
        assert_eq!(change["author"], "wim");
        assert_eq!(change["objects"], value!([{"path": "http.routers.past", "change": what}]));
        assert!(change["time"].as_str().unwrap().starts_with("20"), "{change}");
    }
    let path = format!("/api/config/rollback?revision={with}&wait=all");
    let answer = peers.call(2, "POST", &path).await;
    let back = json(&answer)["revision"].as_u64().unwrap();
    assert!(answer.status == 200 && back > without, "{}", answer.text());
    for peer in ALL {
        assert_eq!(peers.proxied(peer, "/past").await, 200);
    }
    let newest = json(&peers.call(0, "GET", "/api/config/history?limit=1").await);
    assert_eq!(newest[0]["revision"], back);
    assert_eq!(peers.call(0, "POST", "/api/config/rollback?revision=999999").await.status, 404);
    assert_eq!(peers.call(0, "POST", "/api/config/rollback").await.status, 400);
}
