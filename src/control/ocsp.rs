//! Staples OCSP responses to the certificates in force. Every peer does so for itself.
//!
//! Traefik v3: `ocsp`. Handshakes never wait: they present what is there. A response is asked for again half-way to
//! its end; the last good one stays until its end or until the responder says that the certificate is revoked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderValue, Method, Request, Uri};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::follow::View;
use crate::clock;
use crate::tls::Pair;
use crate::tls::ocsp::{Error, Good, Question};
use crate::upstream::{Server, Transport};

/// Responders that are asked at the same time.
const ASKED_AT_ONCE: usize = 8;
/// Questions of a round: certificates that are new wait for no more than these.
const ROUND_MAX: usize = 64;
/// Longest wait for an answer, with up to ten redirects.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: one with the signer's certificate has some 2 kB.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Wait after the first failure; it doubles with each up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_mins(1);
/// Longest time between two questions about a certificate without a response, as Traefik's timer.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// Digest of a leaf.
type Key = [u8; 32];

/// A certificate that is asked about.
struct Known {
    /// Those that present the leaf: there may be a pair of the default store beside one of `tls.certificates`.
    pairs: Vec<Arc<Pair>>,
    question: Arc<Question>,
    due: Instant,
    failures: u32,
    /// The last good response, and when it must go (since the Unix epoch).
    staple: Option<(Bytes, Duration)>,
}

impl Known {
    fn present(&self) {
        for pair in &self.pairs {
            pair.staple(self.staple.as_ref().map(|(response, _)| response.to_vec()));
        }
    }
}

/// What an answer changes.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Good(Bytes, Good),
    /// The certificate must not be vouched for any longer.
    Revoked,
    Failed,
}

/// Keeps certificates stapled.
pub(crate) struct Stapler {
    /// Other responders, by that in the certificate.
    overrides: BTreeMap<String, String>,
    transport: Arc<Transport>,
    known: HashMap<Key, Known>,
    /// Leafs that nothing can be asked about: each is told once.
    told: HashMap<Key, Error>,
}

impl Stapler {
    /// Responders are asked over `transport`.
    pub(crate) fn new(overrides: BTreeMap<String, String>, transport: Arc<Transport>) -> Self {
        Self { overrides, transport, known: HashMap::new(), told: HashMap::new() }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, view: View, stop: CancellationToken) {
        let mut changed = view.changed();
        loop {
            changed.borrow_and_update();
            self.follow(&view.load().compiled.certificates, Instant::now());
            self.forget_expired(clock::now());
            let round = self.round(Instant::now());
            if !round.is_empty() {
                let answers = self.ask(round);
                let Some(answers) = stop.run_until_cancelled(answers).await else { return };
                for (key, outcome) in answers {
                    self.learn(key, outcome, (Instant::now(), clock::now()));
                }
                continue;
            }
            let wait = self.wait(Instant::now(), clock::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                changed = changed.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes over the certificates that are in force; a response for a leaf lives on with a new pair.
    fn follow(&mut self, certificates: &[Arc<Pair>], now: Instant) {
        let mut before = std::mem::take(&mut self.known);
        let mut told = std::mem::take(&mut self.told);
        for pair in certificates {
            let Some(leaf) = pair.leaf() else { continue };
            let key: Key = Sha256::digest(&leaf).into();
            if let Some(known) = self.known.get_mut(&key) {
                known.pairs.push(pair.clone());
                continue;
            }
            if let Some(known) = before.remove(&key) {
                self.known.insert(key, Known { pairs: vec![pair.clone()], ..known });
                continue;
            }
            match Question::about(pair) {
                Ok(None) => {}
                Ok(Some(question)) => {
                    let (pairs, question) = (vec![pair.clone()], Arc::new(question));
                    let known = Known { pairs, question, due: now, failures: 0, staple: None };
                    self.known.insert(key, known);
                }
                Err(error) => {
                    if told.remove(&key).as_ref() != Some(&error) {
                        warn!(%error, names = ?pair.names, "no OCSP response can be stapled");
                    }
                    self.told.insert(key, error);
                }
            }
        }
        // A pair that was made anew has nothing stapled.
        let unstapled = |known: &&Known| {
            known.staple.is_some() && known.pairs.iter().any(|pair| pair.key().ocsp.is_none())
        };
        self.known.values().filter(unstapled).for_each(Known::present);
    }

    /// Takes responses off that have ended.
    fn forget_expired(&mut self, now: Duration) {
        for known in self.known.values_mut() {
            if known.staple.take_if(|(_, end)| *end <= now).is_some() {
                known.present();
            }
        }
    }

    /// What to ask now: who is to be asked what, and which leaf it is about.
    fn round(&self, now: Instant) -> Vec<(Key, Arc<Question>, String)> {
        let due = self.known.iter().filter(|(_, known)| known.due <= now).take(ROUND_MAX);
        due.map(|(key, known)| {
            let responder = &known.question.responder;
            let asked = self.overrides.get(responder).unwrap_or(responder);
            (*key, known.question.clone(), asked.clone())
        })
        .collect()
    }

    /// Asks several at once.
    fn ask(
        &self,
        round: Vec<(Key, Arc<Question>, String)>,
    ) -> impl Future<Output = Vec<(Key, Outcome)>> + use<> {
        let transport = self.transport.clone();
        futures_util::stream::iter(round)
            .map(move |(key, question, responder)| {
                let transport = transport.clone();
                async move { (key, ask(&question, &responder, transport).await) }
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
    }

    fn learn(&mut self, key: Key, outcome: Outcome, (now, clock): (Instant, Duration)) {
        let Some(known) = self.known.get_mut(&key) else { return };
        match outcome {
            Outcome::Good(response, good) => {
                known.failures = 0;
                known.due = now + good.renew.saturating_sub(clock).max(WAIT_MIN);
                known.staple = Some((response, good.end));
                known.present();
            }
            Outcome::Revoked => {
                known.failures = 0;
                known.due = now + WAIT_MAX;
                known.staple = None;
                known.present();
            }
            Outcome::Failed => {
                known.due = now + WAIT_MIN.saturating_mul(1 << known.failures.min(6)).min(WAIT_MAX);
                known.failures = known.failures.saturating_add(1);
            }
        }
    }

    /// Until something is due or ends; the clock on the wall may be set, so that it is never long.
    fn wait(&self, now: Instant, clock: Duration) -> Duration {
        let waits = self.known.values().flat_map(|known| {
            let end = known.staple.as_ref().map(|(_, end)| end.saturating_sub(clock));
            [Some(known.due.saturating_duration_since(now)), end]
        });
        waits.flatten().fold(WAIT_MAX, Duration::min)
    }
}

/// Asks one responder, and judges its answer.
async fn ask(question: &Question, responder: &str, transport: Arc<Transport>) -> Outcome {
    let response = match fetch(question, responder, transport).await {
        Ok(response) => response,
        Err(error) => {
            warn!(%error, responder, "no OCSP response");
            return Outcome::Failed;
        }
    };
    match question.judge(&response, clock::now()) {
        Ok(good) => {
            debug!(responder, "OCSP response stapled");
            Outcome::Good(response, good)
        }
        Err(Error::Revoked) => {
            error!(responder, "a certificate in use is revoked: no OCSP response is stapled");
            Outcome::Revoked
        }
        Err(error) => {
            warn!(%error, responder, "the OCSP response is of no use");
            Outcome::Failed
        }
    }
}

async fn fetch(
    question: &Question,
    responder: &str,
    transport: Arc<Transport>,
) -> Result<Bytes, String> {
    let uri: Uri = responder.parse().map_err(|_error| "its address is no URL".to_owned())?;
    let server = Server::new(responder, false, true, transport).map_err(|e| e.to_string())?;
    let mut request = Request::new(Bytes::from(question.request.clone()));
    *request.method_mut() = Method::POST;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_error| "its path is none".to_owned())?;
    let kind = HeaderValue::from_static("application/ocsp-request");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    let answer = server.fetch(request, true, ANSWER_MAX, ANSWER_BYTES_MAX).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answers with status {}", answer.status().as_u16()));
    }
    Ok(answer.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Options;

    fn stapler() -> Stapler {
        let overrides = [("http://old.test".to_owned(), "http://new.test".to_owned())].into();
        Stapler::new(overrides, Transport::build(&Options::default()).unwrap())
    }

    /// A certificate of an authority of its own, with the responder `http://old.test`.
    fn pair() -> Arc<Pair> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        let mut access = vec![0x30, 0x1d, 0x30, 0x1b, 6, 8, 0x2b, 6, 1, 5, 5, 7, 48, 1, 0x86, 15];
        access.extend(b"http://old.test");
        params.custom_extensions =
            vec![rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &issuer).unwrap().pem() + &authority.pem();
        Arc::new(Pair::from_pem(&chain, &key.serialize_pem()).unwrap())
    }

    fn good(now: Duration) -> Outcome {
        let good =
            Good { renew: now + Duration::from_hours(2), end: now + Duration::from_hours(4) };
        Outcome::Good(Bytes::from_static(b"response"), good)
    }

    fn again(pair: &Pair) -> Arc<Pair> {
        let key = pair.key();
        let copy = Pair::from_der(key.cert.clone(), key.key.clone()).unwrap();
        Arc::new(copy)
    }

    /// static.md §2, `ocsp.responderOverrides`.
    #[test]
    fn a_certificate_in_force_is_asked_about_once_at_its_other_responder() {
        let (mut stapler, pair) = (stapler(), pair());
        stapler.follow(&[pair.clone(), again(&pair)], Instant::now());
        let round = stapler.round(Instant::now());
        assert_eq!(round.len(), 1);
        assert_eq!(round[0].2, "http://new.test");
        stapler.follow(&[], Instant::now());
        assert!(stapler.round(Instant::now()).is_empty());
    }

    #[test]
    fn a_good_response_stays_until_its_end_and_goes_with_new_pairs() {
        let (mut stapler, pair) = (stapler(), pair());
        let (start, clock) = (Instant::now(), Duration::from_hours(500_000));
        stapler.follow(std::slice::from_ref(&pair), start);
        let key = stapler.round(start)[0].0;
        stapler.learn(key, good(clock), (start, clock));
        assert!(pair.key().ocsp.is_some());
        assert!(stapler.round(start + Duration::from_mins(119)).is_empty());
        let later = start + Duration::from_hours(2);
        assert_eq!(stapler.round(later).len(), 1);
        stapler.learn(key, Outcome::Failed, (later, clock + Duration::from_hours(2)));
        assert!(pair.key().ocsp.is_some(), "the last good one stays");
        assert!(stapler.round(later).is_empty(), "there is a wait after a failure");
        assert_eq!(stapler.round(later + WAIT_MIN).len(), 1);
        let new = again(&pair);
        stapler.follow(std::slice::from_ref(&new), later);
        assert!(new.key().ocsp.is_some(), "a pair made anew gets it at once");
        stapler.forget_expired(clock + Duration::from_hours(4));
        assert!(new.key().ocsp.is_none());
    }

    #[test]
    fn nothing_vouches_for_a_revoked_certificate() {
        let (mut stapler, pair) = (stapler(), pair());
        let (now, clock) = (Instant::now(), Duration::from_hours(500_000));
        stapler.follow(std::slice::from_ref(&pair), now);
        let key = stapler.round(now)[0].0;
        stapler.learn(key, good(clock), (now, clock));
        stapler.learn(key, Outcome::Revoked, (now, clock));
        assert!(pair.key().ocsp.is_none());
        assert_eq!(stapler.wait(now, clock), WAIT_MAX);
    }

    #[test]
    fn failures_make_the_wait_longer_up_to_an_hour() {
        let (mut stapler, pair) = (stapler(), pair());
        let now = Instant::now();
        stapler.follow(std::slice::from_ref(&pair), now);
        let key = stapler.round(now)[0].0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            stapler.learn(key, Outcome::Failed, (now, Duration::ZERO));
            waits.push(stapler.wait(now, Duration::ZERO).as_secs() / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
