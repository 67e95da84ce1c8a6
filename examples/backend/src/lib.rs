//! The reference backend of Vigie: verification server, key server and published key files in one program, for the interface of
//! `vigie::courier::wire`.
//!
//! ```text
//! http -> group -> rules -> database          batches -> rules -> database
//!                                                     -> files
//! ```
//!
//! [`Server`] is the program; [`rules`] with [`database::Sqlite::in_memory`] are the same decisions without network, threads and clock.

pub mod batches;
pub mod bulletin;
pub mod config;
pub mod database;
pub mod files;
pub mod group;
pub mod http;
pub mod jwt;
pub mod keys;
pub mod metrics;
pub mod rules;
mod server;
pub mod waitlist;

pub use server::{Opened, Server, open, open_files, random};

use vigie::time::{Date, Timestamp};

/// A day as `YYYY-MM-DD`.
pub fn parse_date(text: &str) -> Option<Date> {
    let moment: Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
    let date = moment.date();
    // Longer and shorter forms that are days, too, are refused.
    (date.to_string() == text).then_some(date)
}
