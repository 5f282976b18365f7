//! Options of `http.routers.NAME`.
//!
//! Traefik v3: HTTP routers. Same options, same defaults; serialised as Traefik's API shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::{Text, Texts};
use crate::config::value::Domain;

/// The highest priority that a user may give: what is above is kept for internal routers.
pub(crate) const USER_PRIORITY_MAX: i64 = i64::MAX - 1000;

/// An entry of `http.routers`.
// There may be a hundred thousand: what is alike is kept once, what is rare is boxed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    /// Where the router listens. Default: the default entry points.
    #[serde(skip_serializing_if = "<[Text]>::is_empty")]
    pub(crate) entry_points: Texts,
    /// Names of middlewares, in the order in which a request passes them; after the entry point's own.
    #[serde(skip_serializing_if = "<[Text]>::is_empty")]
    pub(crate) middlewares: Texts,
    /// Name of the service that gets the requests; without `@provider` it is one of the same provider.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) service: Text,
    /// Which requests the router takes, in the rule language.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) rule: Box<str>,
    /// Names of the routers above, for routing in layers. Not settable by labels.
    #[serde(skip_serializing_if = "<[Text]>::is_empty")]
    pub(crate) parent_refs: Texts,
    /// `v2` or `v3`. Default: `core.defaultRuleSyntax`. Deprecated.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) rule_syntax: Text,
    /// Higher is tried first; may be negative. Default (0): the length of the rule in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) priority: i64,
    /// Present: the router takes requests over TLS only. Absent: only those without. May be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Box<Tls>>,
    /// What is observed of the router's requests. Default: as the entry point says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observability: Option<Box<Observability>>,
}

/// `tls` of a router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tls {
    /// Name of an entry of `tls.options`. Default: `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) options: String,
    /// Name of the certificate resolver that gets certificates for the router's names. Default: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cert_resolver: String,
    /// Names that the resolver asks certificates for. Default: those of `Host` in the rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) domains: Vec<Domain>,
}

/// `observability` of a router; what is absent is as the entry point says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Observability {
    /// Lines in the access log. Default: the entry point's, which is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_logs: Option<bool>,
    /// Metrics. Default: the entry point's, which is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<bool>,
    /// Traces. Default: the entry point's, which is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tracing: Option<bool>,
    /// `minimal` or `detailed`; others count as `minimal`. Default: the entry point's, which is `minimal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) trace_verbosity: String,
}

/// A priority that is kept for internal routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router priority {0} exceeds the max user-defined priority {USER_PRIORITY_MAX}")]
pub(crate) struct PriorityError(i64);

impl Options {
    /// The priority in force.
    pub(crate) fn effective_priority(&self) -> i64 {
        match self.priority {
            0 => i64::try_from(self.rule.len()).unwrap_or(i64::MAX),
            priority => priority,
        }
    }

    /// Refuses a priority that is kept for internal routers; not to be asked of those.
    pub(crate) fn check_priority(&self) -> Result<(), PriorityError> {
        check_priority(self.priority)
    }
}

/// The same of a priority alone: TCP routers have the same limit.
pub(crate) fn check_priority(priority: i64) -> Result<(), PriorityError> {
    if priority > USER_PRIORITY_MAX {
        return Err(PriorityError(priority));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_options_show_nothing_but_empty_tls_stays() {
        let options = Options { tls: Some(Box::default()), ..Options::default() };
        assert_eq!(serde_json::to_string(&options).unwrap(), r#"{"tls":{}}"#);
    }

    #[test]
    fn a_router_is_small() {
        assert!(size_of::<Options>() <= 96, "{}", size_of::<Options>());
    }

    #[test]
    fn all_options_make_a_round_trip() {
        let json = r#"{"entryPoints":["web"],"middlewares":["a"],"service":"s","rule":"Host(`h`)",
            "parentRefs":["p"],"ruleSyntax":"v2","priority":-3,
            "tls":{"options":"o","certResolver":"r","domains":[{"main":"a.test","sans":["b.test"]}]},
            "observability":{"accessLogs":false,"metrics":true,"tracing":false,"traceVerbosity":"detailed"}}"#;
        let options: Options = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::to_value(&options).unwrap(),
            serde_json::from_str::<serde_json::Value>(json).unwrap()
        );
    }

    #[test]
    fn priority_above_the_users_maximum_is_refused() {
        let options: Options = serde_json::from_str(r#"{"priority":9223372036854774808}"#).unwrap();
        assert_eq!(
            options.check_priority().unwrap_err().to_string(),
            "the router priority 9223372036854774808 exceeds the max user-defined priority \
             9223372036854774807"
        );
        let options = Options { priority: USER_PRIORITY_MAX, ..options };
        assert_eq!(options.check_priority(), Ok(()));
    }

    #[test]
    fn priority_is_the_length_of_the_rule_in_bytes_unless_set() {
        let rule = "Host(`ä.test`)".into();
        assert_eq!(Options { rule, ..Options::default() }.effective_priority(), 15);
        assert_eq!(Options { priority: -1, ..Options::default() }.effective_priority(), -1);
    }
}
