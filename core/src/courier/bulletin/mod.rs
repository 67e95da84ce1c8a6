//! The bulletin: one signed document in which a health authority tells all phones the same: dated figures, advice, configuration and keys.
//!
//! ```text
//! v1 KEY_ID SIGNATURE\n      SIGNATURE: Ed25519 over all bytes behind this line, base64
//! { "serial": 7, ... }       JSON, UTF-8
//! ```
//!
//! The bytes are verified before they are parsed, with a key that is built into the app ([`BulletinServer`](super::BulletinServer)) or its built-in
//! successor. What is accepted is kept with its exact bytes, verified again whenever it is read from the store, and shown where there is no network.
//! The one before stays where a newer one is refused: [`BulletinError`] says why. The serial never goes back.
//!
//! A bulletin weighs exposures, spaces polls, names a service to send under and more keys to believe. It can neither stop tracing nor erase anything.

mod document;
mod fetching;
mod signature;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::time::Timestamp;

pub use document::{
    Advice, AuthorityKeys, Bulletin, Configuration, Figure, MAX_BULLETIN, MAX_POLL_PERIOD_S, MAX_SERIAL, MIN_POLL_PERIOD_S,
    Value, Version, VersionError, in_language,
};
pub use signature::{BulletinKey, BulletinSigner, SignerError, verify};

pub(super) use fetching::Fetched;

/// Why a bulletin is refused. The one that was kept stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulletinError {
    /// Longer than any sensible one.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// It does not begin with a line that signs the rest: a login page, or another file.
    #[error("it is not signed")]
    Unsigned,
    /// It is signed with a key that this app does not know.
    #[error("it is signed with a key that is not known")]
    UnknownKey,
    /// The signature is not one over these bytes.
    #[error("its signature is wrong")]
    WrongSignature,
    /// It is signed, and no bulletin.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the parser says.
        reason: String,
    },
    /// Something in it cannot be.
    #[error("`{member}` {reason}")]
    Implausible {
        /// Which member.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It speaks of a time that has not come, by this device's clock.
    #[error("`{member}` is of {at}, which has not come; if it has, the clock of this device is wrong")]
    FromTheFuture {
        /// Which member.
        member: &'static str,
        /// Of when it is.
        at: Timestamp,
    },
    /// It is for others.
    #[error("it is for the region {found}, not for {expected}")]
    OtherRegion {
        /// The region of this app.
        expected: String,
        /// That of the bulletin.
        found: String,
    },
    /// A newer one was seen before.
    #[error("its serial number is {found}, and {kept} was seen before")]
    Older {
        /// The highest serial so far.
        kept: u64,
        /// Its own.
        found: u64,
    },
    /// Its serial number was used for another one.
    #[error("its serial number {serial} was that of another bulletin")]
    SerialReused {
        /// The serial.
        serial: u64,
    },
}

/// A bulletin that was accepted, and when a server last said that it is the latest.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeptBulletin {
    /// The bulletin.
    pub bulletin: Arc<Bulletin>,
    /// When it was last seen at its server.
    pub seen_at: Timestamp,
}
