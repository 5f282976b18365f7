//! `file`: dynamic configuration from a file or a folder.

pub(crate) mod options;
pub(crate) mod template;
