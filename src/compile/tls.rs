//! Certificates, stores and TLS options of all providers, built.
//!
//! Traefik: TLS (tcp-udp-tls.md §6). The options and the store named `default` belong to no provider.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::source::{Sources, split};
use crate::tls::certificate::generated_default;
use crate::tls::options::{CertificateOptions, Options, StoreOptions};
use crate::tls::{Acceptance, Certificates, Pair, Resumption, build};

/// The name of the options that routers get without asking.
pub(crate) const DEFAULT: &str = "default";

/// A certificate's options, the pair if it can be used, and what is wrong if not.
type Read = (Arc<CertificateOptions>, Option<Arc<Pair>>, Option<String>);
/// TLS options, what was built of them, and what is wrong with them.
type Made = (Arc<Options>, Arc<Acceptance>, Option<String>);

/// What handshakes need, by qualified name of the options.
#[derive(Default, Clone)]
pub(crate) struct Tls {
    pub(crate) acceptances: HashMap<Arc<str>, Arc<Acceptance>>,
    pub(crate) problems: Vec<String>,
    certificates: Option<Arc<Certificates>>,
    pairs: BTreeMap<String, Read>,
    default_pair: Option<Arc<Pair>>,
    built: HashMap<Arc<str>, Made>,
    resumptions: HashMap<Arc<str>, Resumption>,
    built_in: Arc<Options>,
}

impl Tls {
    /// Builds what `sources` say, keeping what has not changed.
    pub(crate) fn compile(sources: &Sources, previous: &Self) -> Self {
        let mut next = Self { built_in: previous.built_in.clone(), ..Self::default() };
        next.read_pairs(sources, previous);
        let same_pairs = previous.certificates.is_some() && next.same_pairs(previous);
        let default = next.read_default(sources, previous);
        let same_default = match (&default, &previous.default_pair) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        next.default_pair.clone_from(&default);
        next.certificates = if same_pairs && same_default {
            previous.certificates.clone()
        } else {
            let pairs: Vec<_> =
                next.pairs.values().filter_map(|(_, pair, _)| pair.clone()).collect();
            default.map(|default| Arc::new(Certificates::new(&pairs, default)))
        };
        let keep = same_pairs && same_default;
        next.read_options(sources, previous, keep);
        next
    }

    /// True if routers get the same from both.
    pub(crate) fn accepts_as(&self, other: &Self) -> bool {
        self.acceptances.len() == other.acceptances.len()
            && self.acceptances.iter().all(|(name, one)| {
                other.acceptances.get(name).is_some_and(|other| Arc::ptr_eq(one, other))
            })
    }

    /// Certificates of all providers, for the API and for metrics.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.pairs.values().filter_map(|(_, pair, _)| pair.as_ref()).chain(&self.default_pair)
    }

    fn read_pairs(&mut self, sources: &Sources, previous: &Self) {
        for (provider, source) in sources {
            for (name, options) in &source.tls_certificates {
                // Certificates for other stores than the default one are never served.
                if !options.stores.is_empty()
                    && !options.stores.iter().any(|store| store == DEFAULT)
                {
                    continue;
                }
                let key = format!("{name}@{provider}");
                let entry = match previous.pairs.get(&key) {
                    Some(entry) if Arc::ptr_eq(&entry.0, options) => entry.clone(),
                    _ => {
                        match Pair::from_pem(options.cert_file.as_str(), options.key_file.as_str())
                        {
                            Ok(pair) => (options.clone(), Some(Arc::new(pair)), None),
                            Err(error) => {
                                let problem = format!("certificate {key}: {error}");
                                (options.clone(), None, Some(problem))
                            }
                        }
                    }
                };
                self.problems.extend(entry.2.clone());
                self.pairs.insert(key, entry);
            }
        }
    }

    fn same_pairs(&self, previous: &Self) -> bool {
        self.pairs.len() == previous.pairs.len()
            && self.pairs.iter().zip(&previous.pairs).all(|((name, new), (old_name, old))| {
                name == old_name && Arc::ptr_eq(&new.0, &old.0)
            })
    }

    /// The default certificate: the one of the store `default`, else one made at start.
    fn read_default(&mut self, sources: &Sources, previous: &Self) -> Option<Arc<Pair>> {
        let mut stores: Vec<(&Arc<str>, &Arc<StoreOptions>)> = Vec::new();
        for (provider, source) in sources {
            stores.extend(source.tls_stores.get(DEFAULT).map(|store| (provider, store)));
        }
        let given = match stores.as_slice() {
            [] => None,
            [(_, store)] => {
                if store.default_certificate.is_none() && store.default_generated_cert.is_some() {
                    let problem = "`defaultGeneratedCert` of TLS store `default` is not built yet";
                    self.problems.push(problem.to_owned());
                }
                store.default_certificate.as_ref()
            }
            _ => {
                self.problems.push(
                    "TLS store `default` is configured by several providers: none of them is used"
                        .to_owned(),
                );
                None
            }
        };
        let Some(given) = given else {
            return match generated_default() {
                Ok(pair) => Some(pair),
                Err(error) => {
                    self.problems.push(format!("default certificate: {error}"));
                    None
                }
            };
        };
        match Pair::from_pem(given.cert_file.as_str(), given.key_file.as_str()) {
            Ok(pair) => {
                let known = previous.default_pair.as_ref();
                let same = known.filter(|known| known.leaf() == pair.leaf());
                Some(same.cloned().unwrap_or_else(|| Arc::new(pair)))
            }
            Err(error) => {
                self.problems.push(format!("default certificate of TLS store `default`: {error}"));
                generated_default().ok()
            }
        }
    }

    fn read_options(&mut self, sources: &Sources, previous: &Self, keep: bool) {
        let mut named: Vec<(Arc<str>, Arc<Options>)> = Vec::new();
        let mut defaults: Vec<&Arc<Options>> = Vec::new();
        for (provider, source) in sources {
            for (name, options) in &source.tls_options {
                if &**name == DEFAULT {
                    defaults.push(options);
                } else {
                    named.push((format!("{name}@{provider}").into(), options.clone()));
                }
            }
        }
        match defaults.as_slice() {
            [] => named.push((DEFAULT.into(), self.built_in.clone())),
            [one] => named.push((DEFAULT.into(), (*one).clone())),
            _ => self.problems.push(
                "TLS options `default` are configured by several providers: none of them is used"
                    .to_owned(),
            ),
        }
        for (name, options) in named {
            let resumption = match previous.resumptions.get(&name) {
                Some(known) => Ok(known.clone()),
                None => Resumption::new(),
            };
            let kept =
                previous.built.get(&name).filter(|old| keep && Arc::ptr_eq(&old.0, &options));
            let (acceptance, problem) = match (kept, resumption, &self.certificates) {
                (Some((_, acceptance, problem)), Ok(resumption), _) => {
                    self.resumptions.insert(name.clone(), resumption);
                    (acceptance.clone(), problem.clone())
                }
                (None, Ok(resumption), Some(certificates)) => {
                    let built = build(&options, certificates.clone(), &resumption);
                    self.resumptions.insert(name.clone(), resumption);
                    let problem =
                        built.as_ref().err().map(|error| format!("TLS options {name}: {error}"));
                    let config = built.ok();
                    (Arc::new(Acceptance { options: name.clone(), config }), problem)
                }
                (_, Err(error), _) => (
                    Arc::new(Acceptance { options: name.clone(), config: None }),
                    Some(format!("TLS options {name}: {error}")),
                ),
                (_, _, None) => (
                    Arc::new(Acceptance { options: name.clone(), config: None }),
                    Some(format!("TLS options {name}: there is no default certificate")),
                ),
            };
            self.problems.extend(problem.clone());
            self.acceptances.insert(name.clone(), acceptance.clone());
            self.built.insert(name, (options, acceptance, problem));
        }
    }

    /// The qualified name of options that an object of `provider` calls `name`.
    pub(crate) fn qualify(name: &str, provider: &str) -> String {
        match name {
            "" | DEFAULT => DEFAULT.to_owned(),
            name if split(name).1.is_empty() => format!("{name}@{provider}"),
            name => name.to_owned(),
        }
    }
}
