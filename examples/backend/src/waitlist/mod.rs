//! The waiting list behind its interface: keys, opening, mails. The rules of taking sign-ups in are in [`rules`](crate::rules).
//!
//! ```text
//! http -> group -> rules: sealed form, receipt, task     (--role receive: cannot read any of it)
//! opener -> rules -> mails                               (--role open: the private key)
//! ```

mod keys;

pub use keys::{Role, WaitlistKeys};
