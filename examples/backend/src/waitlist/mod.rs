//! The waiting list behind its interface: keys, opening, mails. The rules of taking sign-ups in are in [`rules`](crate::rules).
//!
//! ```text
//! http -> group -> rules: sealed form, receipt, task     (--role receive: cannot read any of it)
//! opener -> rules -> mails                               (--role open: the private key)
//! ```

mod keys;
mod mail;
mod opener;
mod texts;

pub use keys::{Opening, Role, WaitlistKeys};
pub use mail::{MailConfig, Mailer, Prepared, Sending, outbox, remove};
pub use opener::Opener;

#[cfg(test)]
pub(crate) use keys::receipt_signer;
