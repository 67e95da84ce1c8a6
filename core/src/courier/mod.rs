//! Everything that talks to a server: reports of a diagnosis, key lists, decoys, and when any of it is sent.

mod code;
pub mod pacer;
pub mod wire;

pub use code::{CodeError, VerificationCode};
