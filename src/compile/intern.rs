//! What is in force for routers, which many have alike, is kept once.

use std::sync::{Arc, LazyLock};

use super::report::Applied;
use crate::config::text::Pool;

static APPLIED: LazyLock<Pool<Applied>> = LazyLock::new(Pool::default);

/// The one that is kept for all that are equal.
pub(super) fn applied(applied: Applied) -> Arc<Applied> {
    APPLIED.get(applied)
}
