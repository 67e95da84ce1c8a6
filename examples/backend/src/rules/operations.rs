//! What an operator sees of the waiting list: counts, and nothing of anybody.

use super::waitlist;
use crate::database::{DatabaseError, Transaction};

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    /// Places that were given.
    pub sign_ups: u64,
    /// Forms that are to be opened.
    pub tasks_waiting: u64,
    /// Mails that are to be sent.
    pub mails_waiting: u64,
    /// Mails that were sent.
    pub mails_sent: u64,
}

/// How far everything is now.
///
/// # Errors
/// [`DatabaseError`].
pub fn operations(transaction: &mut dyn Transaction) -> Result<Operations, DatabaseError> {
    let mut count = |what: &str| count(transaction, what);
    Ok(Operations {
        tasks_waiting: count("task WHERE done_at IS NULL")?,
        mails_waiting: count("mail WHERE sent_at IS NULL")?,
        mails_sent: count("mail WHERE sent_at IS NOT NULL")?,
        sign_ups: waitlist::last_place(transaction)?,
    })
}

/// National numbers for which different addresses were given. Looks at all of them.
///
/// # Errors
/// [`DatabaseError`].
pub fn count_conflicts(transaction: &mut dyn Transaction) -> Result<u64, DatabaseError> {
    let numbers = "(SELECT number_hash FROM opened GROUP BY number_hash HAVING count(DISTINCT contact_hash) > 1) AS number";
    count(transaction, numbers)
}

fn count(transaction: &mut dyn Transaction, what: &str) -> Result<u64, DatabaseError> {
    let rows = transaction.query(&format!("SELECT count(*) FROM {what}"), &[])?;
    rows.first().map_or(Ok(0), |row| Ok(row.integer(0)?.unsigned_abs()))
}
