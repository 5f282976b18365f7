//! The control loops: providers to the log, the log to the plan.

pub(crate) mod cluster;
pub(crate) mod documents;
pub(crate) mod follow;
pub(crate) mod internal;
pub(crate) mod leader;
pub(crate) mod numbers;
pub(crate) mod ocsp;
pub(crate) mod publish;
