//! Vigie (French: the look-out) is the part of a contact-tracing app that must not fail: it makes rotating identifiers, sends and hears them
//! over Bluetooth LE, keeps encounters in SQLite, matches them against signed lists of diagnosis keys, and says who is to be warned.
//!
//! The modules stand in the order in which the data goes; each knows only those before it.

pub mod time;
pub mod keys;
pub mod beacon;
pub mod radio;
pub mod encounters;
pub mod diagnosis;
pub mod matching;
pub mod exposure;
pub mod store;
pub mod courier;
pub mod tracer;

/// The programs in the README are compiled and run with the tests.
#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../../README.md")]
struct Readme;
