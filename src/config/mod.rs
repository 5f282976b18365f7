//! Configuration: leaf values, the tree that every source decodes to, and the tables of contents.

pub(crate) mod dynamic;
pub(crate) mod value;
