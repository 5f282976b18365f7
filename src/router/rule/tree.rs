//! A parsed rule: matchers joined by all-of and any-of, negated only at the leaves.

use super::Asks;
use crate::router::matcher::Matcher;

/// Matchers and how they are joined. Groups of a kind are flattened into their parent, and a group has at least two
/// members, so the depth is at most that of the parentheses.
#[derive(Debug)]
pub(crate) enum Tree<M = Matcher> {
    Is(M),
    IsNot(M),
    All(Box<[Self]>),
    Any(Box<[Self]>),
}

impl<M: Asks> Tree<M> {
    /// True where each of `terms` is.
    pub(crate) fn all(terms: Vec<Self>) -> Self {
        Self::group(terms, Self::All, |term| match term {
            Self::All(inner) => Ok(inner),
            Self::Is(_) | Self::IsNot(_) | Self::Any(_) => Err(term),
        })
    }

    /// True where one of `terms` is.
    pub(crate) fn any(terms: Vec<Self>) -> Self {
        Self::group(terms, Self::Any, |term| match term {
            Self::Any(inner) => Ok(inner),
            Self::Is(_) | Self::IsNot(_) | Self::All(_) => Err(term),
        })
    }

    fn group(
        mut terms: Vec<Self>,
        join: fn(Box<[Self]>) -> Self,
        open: fn(Self) -> Result<Box<[Self]>, Self>,
    ) -> Self {
        if terms.len() == 1
            && let Some(only) = terms.pop()
        {
            return only;
        }
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match open(term) {
                Ok(inner) => flat.extend(inner),
                Err(term) => flat.push(term),
            }
        }
        join(flat.into())
    }

    /// The opposite, by De Morgan's laws.
    pub(crate) fn negated(self) -> Self {
        let negate = |terms: Box<[Self]>| terms.into_iter().map(Self::negated).collect();
        match self {
            Self::Is(matcher) => Self::IsNot(matcher),
            Self::IsNot(matcher) => Self::Is(matcher),
            Self::All(terms) => Self::Any(negate(terms)),
            Self::Any(terms) => Self::All(negate(terms)),
        }
    }

    pub(crate) fn matches(&self, target: &M::Target<'_>) -> bool {
        match self {
            Self::Is(matcher) => matcher.matches(target),
            Self::IsNot(matcher) => !matcher.matches(target),
            Self::All(terms) => terms.iter().all(|term| term.matches(target)),
            Self::Any(terms) => terms.iter().any(|term| term.matches(target)),
        }
    }

    /// What of it is not so, in words; `None` where it matches.
    pub(crate) fn refusal(&self, target: &M::Target<'_>) -> Option<String> {
        /// Alternatives that are told of.
        const TOLD_MAX: usize = 8;
        match self {
            Self::Is(matcher) => {
                (!matcher.matches(target)).then(|| format!("{matcher} does not match"))
            }
            Self::IsNot(matcher) => {
                matcher.matches(target).then(|| format!("!{matcher} does not match"))
            }
            Self::All(terms) => terms.iter().find_map(|term| term.refusal(target)),
            Self::Any(terms) => {
                let mut reasons = Vec::new();
                for term in terms {
                    let reason = term.refusal(target)?;
                    if reasons.len() < TOLD_MAX {
                        reasons.push(reason);
                    }
                }
                Some(reasons.join(", and "))
            }
        }
    }

    /// Shows `visit` each matcher that is not negated, in the order of the rule.
    pub(crate) fn visit_positive<'a>(&'a self, visit: &mut impl FnMut(&'a M)) {
        match self {
            Self::Is(matcher) => visit(matcher),
            Self::IsNot(_) => {}
            Self::All(terms) | Self::Any(terms) => {
                for term in terms {
                    term.visit_positive(visit);
                }
            }
        }
    }

    /// Keys of which a request must have one for the rule to match; `None` when there is no such set. `key` gives the
    /// key that a request must have for a matcher to match.
    pub(crate) fn required<'a, K>(&'a self, key: &impl Fn(&'a M) -> Option<K>) -> Option<Vec<K>> {
        match self {
            Self::Is(matcher) => key(matcher).map(|key| vec![key]),
            Self::IsNot(_) => None,
            Self::All(terms) => {
                terms.iter().filter_map(|term| term.required(key)).min_by_key(Vec::len)
            }
            Self::Any(terms) => {
                let mut keys = Vec::with_capacity(terms.len());
                for term in terms {
                    keys.extend(term.required(key)?);
                }
                Some(keys)
            }
        }
    }
}
