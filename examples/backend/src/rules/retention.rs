//! What is forgotten, and when: 14 days after it came, with the hashes that know its repeats.

use std::time::Duration;

use vigie::time::{RETENTION_DAYS, Timestamp};

use super::export::{Published, RETENTION, published};
use crate::database::{DatabaseError, Transaction};

/// How long a file stays after it left the index, for those who read the index just before.
const FILE_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Erases codes, tokens, reports and keys. Keys stay as long as a file may have to be made of them.
///
/// # Errors
/// [`DatabaseError`].
pub fn erase(transaction: &mut dyn Transaction, now: Timestamp) -> Result<(), DatabaseError> {
    let moment = now.before(RETENTION).unix_ms();
    transaction.execute("DELETE FROM code WHERE expires_at < $1", &[moment.into()])?;
    transaction.execute("DELETE FROM token WHERE expires_at < $1", &[moment.into()])?;
    let day = i64::from(now.date().minus(RETENTION_DAYS).days());
    transaction.execute("DELETE FROM report WHERE received_day < $1", &[day.into()])?;
    transaction.execute(
        "DELETE FROM diagnosis_key WHERE received_day < $1
         AND coalesce(batch, 0) NOT IN (SELECT number FROM batch WHERE written_at IS NULL)
         AND coalesce(revised_batch, 0) NOT IN (SELECT number FROM batch WHERE written_at IS NULL)",
        &[day.into()],
    )?;
    Ok(())
}

/// The files that are to be removed.
///
/// # Errors
/// [`DatabaseError`].
pub fn expired_files(transaction: &mut dyn Transaction, now: Timestamp) -> Result<Vec<Published>, DatabaseError> {
    let before = now.before(RETENTION).before(FILE_GRACE).unix_ms();
    let rows = transaction.query("SELECT number, name FROM batch WHERE ends_at < $1 ORDER BY number", &[before.into()])?;
    rows.iter().map(published).collect()
}

/// The file is removed.
///
/// # Errors
/// [`DatabaseError`].
pub fn forget_file(transaction: &mut dyn Transaction, number: i64) -> Result<(), DatabaseError> {
    transaction.execute("DELETE FROM batch WHERE number = $1", &[number.into()])?;
    Ok(())
}
