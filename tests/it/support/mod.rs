//! What the tests stand on: the program as a process, servers behind it, clients before it.

pub(crate) mod backend;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod full;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod http3;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod running;
