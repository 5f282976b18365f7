//! HTTP/1.0 and HTTP/1.1 (RFC 9112): the codec that both sides of the proxy share, and the server's connection.
//!
//! Strict where it decides what a message is: whatever could be read in two ways is refused, never repaired.

mod chunked;
mod encode;
mod framing;
mod head;
mod incoming;
mod server;
mod wire;

pub(crate) use chunked::clean_trailers;
pub(crate) use encode::{BodyEncoder, HEAD_WRITE, put_field, put_length};
#[cfg(any(test, fuzzing))]
pub(crate) use framing::Framing;
pub(crate) use framing::{DecodeError, Decoder};
pub(crate) use head::{Limits, ResponseHead, parse_length, response as parse_response};
#[cfg(any(test, fuzzing))]
pub(crate) use head::{Refusal, RequestHead, request as parse_request};
pub(crate) use incoming::{Incoming, Interim};
pub(crate) use server::{Service, Settings, serve};
pub(crate) use wire::Wire;
