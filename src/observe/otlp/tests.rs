//! Where messages are sent, and what counts as delivered.

use std::sync::Mutex;

use ::http::header::HeaderValue;

use super::*;

/// What was sent last, and what is answered.
struct Fake {
    answer: Mutex<Option<Reply>>,
    asked: Mutex<Option<Request<Bytes>>>,
}

#[async_trait::async_trait]
impl Outlet for Fake {
    async fn post(&self, request: Request<Bytes>) -> Result<Reply, String> {
        *self.asked.lock().unwrap() = Some(request);
        self.answer.lock().unwrap().take().ok_or_else(|| "refused".to_owned())
    }
}

thread_local! {
    static URLS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[expect(clippy::unnecessary_wraps, reason = "stands for one that may fail")]
fn connect(
    url: &str,
    _: Option<&crate::config::value::ClientTls>,
) -> Result<Arc<dyn Outlet>, String> {
    URLS.with_borrow_mut(|urls| urls.push(url.to_owned()));
    Ok(Arc::new(Fake { answer: Mutex::default(), asked: Mutex::default() }))
}

fn over_http(endpoint: &str) -> Result<(String, String), String> {
    let options = OtlpHttp { endpoint: endpoint.to_owned(), ..OtlpHttp::default() };
    let target = Target { http: Some(&options), grpc: None };
    let exporter = Exporter::new(target, Signal::Traces, connect)?;
    let url = URLS.with_borrow_mut(Vec::pop).unwrap();
    Ok((url, exporter.uri.to_string()))
}

#[test]
fn the_path_of_the_endpoint_is_used_if_it_has_one() {
    for (endpoint, url, path) in [
        ("http://a:4318", "http://a:4318", "/v1/traces"),
        ("https://a/", "https://a", "/"),
        ("http://a:1/x/y", "http://a:1", "/x/y"),
    ] {
        assert_eq!(over_http(endpoint).unwrap(), (url.to_owned(), path.to_owned()));
    }
    for endpoint in ["a:4318", "ftp://a", ""] {
        assert!(over_http(endpoint).is_err(), "{endpoint}");
    }
}

#[test]
fn grpc_goes_over_tls_unless_it_is_insecure() {
    for (endpoint, insecure, url) in
        [("a:4317", false, "https://a:4317"), ("[::1]:4317", true, "h2c://[::1]:4317")]
    {
        let options = OtlpGrpc { endpoint: endpoint.to_owned(), insecure, ..OtlpGrpc::default() };
        let target = Target { http: Some(&OtlpHttp::default()), grpc: Some(&options) };
        let exporter = Exporter::new(target, Signal::Traces, connect).unwrap();
        assert_eq!(URLS.with_borrow_mut(Vec::pop).unwrap(), url);
        assert!(exporter.grpc && exporter.uri.path().ends_with("TraceService/Export"));
    }
    let options = OtlpGrpc { endpoint: "http://a:1".to_owned(), ..OtlpGrpc::default() };
    let target = Target { http: None, grpc: Some(&options) };
    assert!(Exporter::new(target, Signal::Traces, connect).is_err());
}

#[test]
fn headers_that_cannot_be_sent_are_refused() {
    let with = |name: &str, value: &str| headers(&BTreeMap::from([(name.into(), value.into())]));
    assert!(with("x-key", "secret").is_ok());
    assert!(with("x key", "secret").is_err());
    let error = with("x-key", "se\ncret").unwrap_err();
    assert!(!error.contains("cret"), "a value may be a secret: {error}");
}

fn reply(status: u16, trailers: &[(&'static str, &'static str)]) -> Reply {
    Reply {
        status: status.try_into().unwrap(),
        headers: HeaderMap::new(),
        trailers: trailers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect(),
        body: Bytes::from_static(b"why"),
    }
}

#[test]
fn what_may_pass_is_told_from_what_stays_wrong() {
    assert_eq!(http_result(&reply(200, &[])), Ok(()));
    assert!(http_result(&reply(503, &[])).unwrap_err().passing);
    let refused = http_result(&reply(400, &[])).unwrap_err();
    assert!(!refused.passing && refused.reason.contains("why"), "{refused:?}");
    assert_eq!(grpc_result(&reply(200, &[("grpc-status", "0")])), Ok(()));
    assert!(grpc_result(&reply(200, &[("grpc-status", "14")])).unwrap_err().passing);
    assert!(!grpc_result(&reply(200, &[("grpc-status", "3")])).unwrap_err().passing);
    assert!(!grpc_result(&reply(200, &[])).unwrap_err().passing);
}

#[tokio::test]
async fn messages_are_packed_and_framed() {
    for grpc in [false, true] {
        let answer = reply(200, &[("grpc-status", "0")]);
        let fake = Arc::new(Fake { answer: Mutex::new(Some(answer)), asked: Mutex::default() });
        let uri = Uri::from_static("/x");
        let exporter = Exporter { outlet: fake.clone(), uri, headers: HeaderMap::new(), grpc };
        exporter.send(b"message").await.unwrap();
        let request = fake.asked.lock().unwrap().take().unwrap();
        let body = request.into_body();
        let packed = if grpc {
            assert_eq!(body[0], 1, "compressed");
            assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
            &body[5..]
        } else {
            &body[..]
        };
        let mut plain = String::new();
        let mut decoder = flate2::read::GzDecoder::new(packed);
        std::io::Read::read_to_string(&mut decoder, &mut plain).unwrap();
        assert_eq!(plain, "message");
        assert!(exporter.send(b"").await.unwrap_err().passing, "nobody answers");
    }
}
