//! Configuration: leaf values, the tree that every source decodes to, and the tables of contents.

pub(crate) mod decode;
pub(crate) mod dynamic;
pub(crate) mod node;
pub(crate) mod startup;
pub(crate) mod text;
pub(crate) mod value;

#[cfg(test)]
mod tests;
