//! Services: balancers, sticky sessions, health, and services made of services.

mod options;

pub(crate) use options::Options;
