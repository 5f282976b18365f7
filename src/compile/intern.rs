//! Texts and lists that many routers have alike are kept once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::report::Applied;

/// Kinds of [`Applied`] that are looked through.
const APPLIED_MAX: usize = 16;

/// Lives for one compilation.
#[derive(Default)]
pub(crate) struct Interner {
    texts: RefCell<HashSet<Arc<str>>>,
    lists: RefCell<HashSet<Arc<[String]>>>,
    applied: RefCell<Vec<Arc<Applied>>>,
}

impl Interner {
    pub(crate) fn text(&self, text: &str) -> Arc<str> {
        intern(&self.texts, text)
    }

    pub(crate) fn list(&self, list: &[String]) -> Arc<[String]> {
        intern(&self.lists, list)
    }

    pub(crate) fn applied(&self, applied: Applied) -> Arc<Applied> {
        let mut known = self.applied.borrow_mut();
        if let Some(same) = known.iter().rev().find(|known| ***known == applied) {
            return same.clone();
        }
        let new = Arc::new(applied);
        if known.len() < APPLIED_MAX {
            known.push(new.clone());
        }
        new
    }
}

fn intern<T: Eq + Hash + ?Sized>(known: &RefCell<HashSet<Arc<T>>>, value: &T) -> Arc<T>
where
    Arc<T>: for<'a> From<&'a T>,
{
    if let Some(same) = known.borrow().get(value) {
        return same.clone();
    }
    let new: Arc<T> = value.into();
    known.borrow_mut().insert(new.clone());
    new
}
