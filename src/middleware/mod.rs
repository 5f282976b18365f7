//! HTTP middlewares: one file each, and the registry that puts them under Traefik's names.

mod add_prefix;
mod chain;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::http::{ProxyError, Request, Response, SharedHandler};

pub(crate) use chain::{Chain, Next};

/// Changes a request or its response, or answers itself. One instance serves all requests of the objects that use it.
#[async_trait]
pub(crate) trait Middleware: Send + Sync {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError>;
}

/// A middleware that routers share.
pub(crate) type Shared = Arc<dyn Middleware>;

/// Options from which a middleware is built.
pub(crate) trait Build {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError>;
}

/// What a middleware may ask for while it is built.
pub(crate) struct BuildContext<'a> {
    /// Qualified name of the middleware, such as `auth@file`.
    pub(crate) name: &'a str,
    /// Looks up the objects that a middleware refers to.
    pub(crate) lookup: &'a dyn Lookup,
}

/// Finds other objects by the names that options hold; an unqualified name is looked up in the provider of the
/// object that refers to it.
pub(crate) trait Lookup {
    /// A service, built.
    fn service(&self, name: &str) -> Result<SharedHandler, BuildError>;
    /// A middleware, built.
    fn middleware(&self, name: &str) -> Result<Shared, BuildError>;
}

/// Why a middleware cannot be built. The router that uses it is disabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option { option: &'static str, problem: String },
    /// Anything else, as Traefik words it.
    #[error("{0}")]
    Other(String),
    /// The options decode, the behaviour does not exist yet: a router that asks for it must not run without it.
    #[error("middleware type `{0}` is not built yet")]
    NotBuilt(&'static str),
}

impl BuildError {
    pub(crate) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}

/// Expands the registry: `Options` (a `middlewares.NAME` entry, exactly one field of which is set), its `build`, and
/// `NAMES`.
macro_rules! middlewares {
    ($($key:literal => $field:ident: $options:ty,)*) => {
        /// An entry of `http.middlewares`: exactly one type is set.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = "Middleware")]
        pub(crate) struct Options {
            $(
                #[doc = concat!("Options of `", $key, "`.")]
                #[serde(rename = $key, default, skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$options>,
            )*
        }

        impl Options {
            /// Traefik's keys, in the order of the registry.
            pub(crate) const NAMES: &[&str] = &[$($key),*];

            /// The keys that are set.
            pub(crate) fn kinds(&self) -> Vec<&'static str> {
                let mut kinds = Vec::new();
                $(if self.$field.is_some() { kinds.push($key); })*
                kinds
            }

            /// Builds the one type that is set; refuses none or two, as Traefik does.
            pub(crate) fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
                match self.kinds().len() {
                    0 => return Err(BuildError::Other(format!(
                        "invalid middleware \"{}\" configuration: invalid middleware type or middleware does not exist",
                        context.name
                    ))),
                    1 => {}
                    _ => return Err(BuildError::Other(
                        "cannot create middleware: multi-types middleware not supported, consider declaring two \
                         different pieces of middleware instead".to_owned()
                    )),
                }
                $(if let Some(options) = &self.$field { return options.build(context); })*
                Err(BuildError::Other("no middleware type is set".to_owned()))
            }
        }
    };
}

middlewares! {
    "addPrefix" => add_prefix: add_prefix::AddPrefix,
}
