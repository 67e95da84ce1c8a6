//! Mails that are due, and what became of them. A mail is taken for a while, so that two processes do not send it at the same moment; who dies meanwhile
//! leaves it to be taken again.

use std::time::Duration;

use vigie::courier::waitlist::{OperationId, SealedForm};
use vigie::time::Timestamp;

use super::opening::{NOTICE, sealed};
use super::statements::{array, chunks, placeholders};
use crate::database::{DatabaseError, Row, Transaction, Value};

/// How long a mail is taken: longer than the slowest server takes for a batch.
const LEASE: Duration = Duration::from_secs(600);

/// After a failure it is tried again after half a minute, then twice as long, at most an hour.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// A mail that the server refuses for good is tried again so often, and so long: addresses and settings are repaired.
const REFUSED_WAIT: Duration = Duration::from_secs(6 * 3_600);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(4 * 86_400);

/// Of what a mail tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// The sign-up is in order, and this is its place.
    Confirmation,
    /// Another sign-up was made with the same number.
    Notice,
}

/// A mail that was taken.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The left part of its Message-ID.
    pub id: String,
    /// Of the sign-up whose form has the address.
    pub place: u64,
    /// What it tells.
    pub kind: MailKind,
    /// When it was made; its date.
    pub made_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// For which operation the form was sealed.
    pub operation: OperationId,
    /// The form with address and language.
    pub form: SealedForm,
}

/// How a mail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEnd {
    /// The server took it.
    Sent,
    /// Not tried.
    Untouched,
    /// Not now: the server could not be reached, did not answer, or asked to come again.
    Failed,
    /// Refused for good, the server says.
    Refused,
}

/// Takes mails that are due, the one that waits longest first. Mails of forms that are not in order, or not opened again yet, wait.
///
/// # Errors
/// [`DatabaseError`].
pub fn take_mails(transaction: &mut dyn Transaction, now: Timestamp, limit: u32) -> Result<Vec<Mail>, DatabaseError> {
    let rows = transaction.query(
        "SELECT message_id, mail.place, kind, made_at, attempts, form_operation, key_id, encapsulated, sealed
         FROM mail JOIN sign_up ON sign_up.place = mail.place
         WHERE sent_at IS NULL AND given_up_at IS NULL AND due_at <= $1 AND state = 'processed' ORDER BY due_at, message_id LIMIT $2",
        &[now.unix_ms().into(), i64::from(limit).into()],
    )?;
    let mut mails = Vec::with_capacity(rows.len());
    for row in &rows {
        mails.extend(mail(row)?);
    }
    let ids: Vec<&str> = mails.iter().map(|mail| mail.id.as_str()).collect();
    set_all(transaction, "due_at", now.after(LEASE), &ids)?;
    Ok(mails)
}

/// Sets a moment of all these mails.
fn set_all(transaction: &mut dyn Transaction, column: &str, moment: Timestamp, ids: &[&str]) -> Result<(), DatabaseError> {
    for chunk in chunks(ids) {
        let statement = format!("UPDATE mail SET {column} = $1 WHERE message_id IN {}", placeholders(2, chunk.len()));
        let ids = chunk.iter().map(|id| (*id).into());
        let values: Vec<Value> = std::iter::once(moment.unix_ms().into()).chain(ids).collect();
        transaction.execute(&statement, &values)?;
    }
    Ok(())
}

fn mail(row: &Row) -> Result<Option<Mail>, DatabaseError> {
    let Some(form) = sealed(row, 6)? else { return Ok(None) };
    Ok(Some(Mail {
        id: row.text(0)?.to_owned(),
        place: row.integer(1)?.unsigned_abs(),
        kind: if row.text(2)? == NOTICE { MailKind::Notice } else { MailKind::Confirmation },
        made_at: Timestamp::from_unix_ms(row.integer(3)?),
        attempts: u32::try_from(row.integer(4)?).unwrap_or(u32::MAX),
        operation: OperationId(array(row, 5)?),
        form,
    }))
}

fn set_due(transaction: &mut dyn Transaction, id: &str, due: Timestamp, attempts: u32) -> Result<(), DatabaseError> {
    transaction.execute(
        "UPDATE mail SET due_at = $1, attempts = $2 WHERE message_id = $3",
        &[due.unix_ms().into(), i64::from(attempts).into(), id.into()],
    )?;
    Ok(())
}

/// Notes how mails ended. How many are given up.
///
/// # Errors
/// [`DatabaseError`]; mails that were sent are sent again then, with the same Message-ID.
pub fn settle_mails(transaction: &mut dyn Transaction, ends: &[(Mail, MailEnd)], now: Timestamp) -> Result<u64, DatabaseError> {
    let (mut given_up, mut sent) = (0, Vec::new());
    for (mail, end) in ends {
        let moment = || [now.unix_ms().into(), mail.id.as_str().into()];
        let attempts = mail.attempts.saturating_add(1);
        match end {
            MailEnd::Sent => sent.push(mail.id.as_str()),
            MailEnd::Untouched => set_due(transaction, &mail.id, now, mail.attempts)?,
            MailEnd::Failed => set_due(transaction, &mail.id, now.after(wait(mail.attempts)), attempts)?,
            MailEnd::Refused if now.since(mail.made_at) >= GIVEN_UP_AFTER => {
                given_up += transaction.execute("UPDATE mail SET given_up_at = $1 WHERE message_id = $2", &moment())?;
            }
            MailEnd::Refused => set_due(transaction, &mail.id, now.after(REFUSED_WAIT), attempts)?,
        }
    }
    set_all(transaction, "sent_at", now, &sent)?;
    Ok(given_up)
}

/// How long to wait after so many failures.
fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT)
}

/// Which of these mails are still noted; the others were erased with their sign-ups.
///
/// # Errors
/// [`DatabaseError`].
pub fn known_mails(transaction: &mut dyn Transaction, ids: &[String]) -> Result<Vec<String>, DatabaseError> {
    let mut known = Vec::new();
    for id in ids {
        if !transaction.query("SELECT place FROM mail WHERE message_id = $1", &[id.as_str().into()])?.is_empty() {
            known.push(id.clone());
        }
    }
    Ok(known)
}
