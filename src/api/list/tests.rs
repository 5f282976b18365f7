//! api.md §2, each row of "List behaviour".

use http_body_util::BodyExt as _;

use super::*;

/// Status, `X-Next-Page` and body of what a list call is answered.
async fn asked(
    call: impl Fn(Vec<Value>, &Query) -> Response,
    all: &Value,
    query: &str,
) -> (u16, String, Value) {
    let all = all.as_array().unwrap().clone();
    let response = call(all, &Query::parse(query));
    let status = response.status().as_u16();
    let next = response.headers().get("x-next-page");
    let next = next.map(|next| next.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, next, serde_json::from_slice(&body).unwrap())
}

fn numbers() -> Value {
    (0..5).map(|n| json!({"name": format!("r{n}@file")})).collect()
}

async fn names(kind: &'static str, all: &Value, query: &str) -> Vec<String> {
    let (status, _, body) = asked(|all, query| objects(all, kind, query), all, query).await;
    assert_eq!(status, 200);
    body.as_array().unwrap().iter().map(|one| text(one, "name").to_owned()).collect()
}

#[tokio::test]
async fn pages_say_which_is_next_and_the_last_says_one() {
    for (query, next, count) in [
        ("", "1", 5),
        ("per_page=2", "2", 2),
        ("per_page=2&page=2", "3", 2),
        ("per_page=2&page=3", "1", 1),
        ("per_page=5", "1", 5),
    ] {
        let (status, shown, body) = asked(page, &numbers(), query).await;
        assert_eq!((status, shown.as_str(), body.as_array().unwrap().len()), (200, next, count));
    }
}

#[tokio::test]
async fn a_page_beyond_the_end_and_bad_numbers_are_refused() {
    for (query, message) in [
        ("page=3&per_page=3", "invalid request: page: 3, per_page: 3"),
        ("page=0", "invalid request: page: 0"),
        ("page=-1", "invalid request: page: -1"),
        ("page=x", "invalid request: page: 0"),
        ("per_page=0&page=x", "invalid request: per_page: 0"),
    ] {
        let (status, _, body) = asked(page, &numbers(), query).await;
        assert_eq!((status, body), (400, json!({ "message": message })), "{query}");
    }
    assert_eq!(asked(page, &json!([]), "").await, (200, "1".to_owned(), json!([])));
}

fn routers() -> Value {
    json!([
        {"name": "Web@file", "rule": "Host(`a.test`)", "status": "enabled", "service": "app", "priority": 10,
            "provider": "file", "entryPoints": ["a", "b"], "middlewares": ["auth@file"]},
        {"name": "api@docker", "rule": "Host(`b.test`)", "status": "disabled", "service": "app@file", "priority": 9,
            "provider": "docker", "entryPoints": ["a"]},
    ])
}

#[tokio::test]
async fn routers_are_searched_and_filtered() {
    for (query, found) in [
        ("search=WEB", &["Web@file"][..]),
        ("search=B.test", &["api@docker"]),
        ("search=test", &["Web@file", "api@docker"]),
        ("status=DISABLED", &["api@docker"]),
        ("status=dis", &[]),
        ("serviceName=app%40file", &["Web@file", "api@docker"]),
        ("serviceName=app@docker", &["Web@file"]),
        ("serviceName=app", &["Web@file"]),
        ("middlewareName=auth@file", &["Web@file"]),
        ("middlewareName=auth", &[]),
    ] {
        assert_eq!(names("routers", &routers(), query).await, found, "{query}");
    }
}

#[tokio::test]
async fn lists_are_sorted_by_name_unless_asked_otherwise() {
    for (query, first) in [
        ("", "Web@file"),
        ("direction=desc", "api@docker"),
        ("sortBy=priority", "api@docker"),
        ("sortBy=priority&direction=desc", "Web@file"),
        ("sortBy=provider", "api@docker"),
        ("sortBy=status", "api@docker"),
        ("sortBy=rule", "Web@file"),
        ("sortBy=service", "Web@file"),
        ("sortBy=entryPoints", "api@docker"),
    ] {
        assert_eq!(names("routers", &routers(), query).await[0], first, "{query}");
    }
    let services = json!([
        {"name": "a", "type": "weighted", "provider": "z"},
        {"name": "b", "type": "loadbalancer", "provider": "y", "loadBalancer": {"servers": [{}, {}]}},
    ]);
    assert_eq!(names("services", &services, "sortBy=servers&direction=desc").await, ["b", "a"]);
    assert_eq!(names("services", &services, "sortBy=type").await, ["b", "a"]);
    assert_eq!(names("middlewares", &services, "sortBy=provider").await, ["b", "a"]);
}

#[tokio::test]
async fn certificates_are_searched_by_their_names_and_issuers() {
    let all = json!([
        {"name": "aa01", "commonName": "one.test", "issuerCN": "Root", "issuerOrg": "Org", "sans": ["alt.test"],
            "status": "enabled", "notAfter": "2027"},
        {"name": "bb02", "commonName": "two.test", "issuerCN": "Other", "issuerOrg": "Org", "sans": [],
            "status": "expired", "notAfter": "2026"},
    ]);
    for (query, found) in [
        ("search=AA0", &["aa01"][..]),
        ("search=two", &["bb02"]),
        ("search=root", &["aa01"]),
        ("search=ALT", &["aa01"]),
        ("search=org", &["aa01", "bb02"]),
        ("status=expired", &["bb02"]),
        ("sortBy=validUntil", &["bb02", "aa01"]),
        ("sortBy=issuer", &["bb02", "aa01"]),
        ("sortBy=name&direction=desc", &["bb02", "aa01"]),
    ] {
        let (_, _, body) = asked(certificates, &all, query).await;
        let names: Vec<&str> =
            body.as_array().unwrap().iter().map(|one| text(one, "name")).collect();
        assert_eq!(names, found, "{query}");
    }
}
