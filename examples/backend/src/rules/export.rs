//! Key files: which keys go into which, and the list of them.
//!
//! ```text
//! plan          keys get the number of a batch, small ones are filled up with made-up keys      committed
//! load          what the file is made of, the same whenever and by whomever it is asked for
//! (the file is written under a name that was never used)
//! mark_written  committed
//! (index.txt is written from the database)
//! ```
//!
//! After each commit another instance can go on: a batch that is planned and not written is written by whoever comes by. The index ends before the
//! first batch that is not written, so that lines are only ever added at its end.

use std::time::Duration;

use vigie::diagnosis::{DiagnosisKey, ExportError, ExportHeader, SignatureInfo, pad_with_made_up_keys, write_export};
use vigie::keys::TemporaryExposureKey;
use vigie::time::Timestamp;

use super::publish::EMBARGO;
use super::{Context, TestType, test_type};
use crate::database::{DatabaseError, Row, Transaction, Value};
use crate::keys::ExportKeys;

/// How long a file is listed.
pub(super) const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);

/// After so long without a file, one of made-up keys alone is made: phones take a list whose newest file is a day old for a stale one.
const QUIET: Duration = Duration::from_secs(20 * 3600);

/// The days from which the keys of such a file come.
const MADE_UP_DAYS: u64 = 14;

/// A file that was published.
pub struct Published {
    /// The number of its batch.
    pub number: i64,
    /// Its name in the index.
    pub name: String,
}

/// The content of a file.
pub struct Batch {
    /// Its number, from 1.
    pub number: i64,
    /// Its name in the index.
    pub name: String,
    header: ExportHeader,
    keys: Vec<DiagnosisKey>,
    revised: Vec<DiagnosisKey>,
}

impl Batch {
    /// The signed file.
    ///
    /// # Errors
    /// [`ExportError`] where it cannot be made.
    pub fn file(&self, keys: &ExportKeys) -> Result<Vec<u8>, ExportError> {
        write_export(&self.header, &self.keys, &self.revised, keys.signing().1)
    }

    /// How many keys it has, made-up ones among them.
    pub fn len(&self) -> usize {
        self.keys.len() + self.revised.len()
    }

    /// Whether it has none, which never happens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Gives numbers to the batches that are due, and says how many. `now` counts, not the schedule, where `is_forced`.
///
/// # Errors
/// [`DatabaseError`].
pub fn plan(transaction: &mut dyn Transaction, context: &mut Context<'_>, is_forced: bool) -> Result<usize, DatabaseError> {
    let period = Duration::from_secs(u64::from(context.policy.batch_period_s));
    let last = number(transaction, "batch_at")?.map(Timestamp::from_unix_ms);
    if !is_forced && last.is_some_and(|last| context.now < last.after(period)) {
        return Ok(0);
    }
    let starts_at = last.unwrap_or(context.now.before(period)).min(context.now);
    let first = number(transaction, "batch_number")?.unwrap_or(0) + 1;
    let published = number(transaction, "published_at")?.map_or(context.now, Timestamp::from_unix_ms);
    let is_quiet = context.now >= published.after(QUIET);
    let mut next = first;
    while fill(transaction, next, context)? || (is_quiet && next == first && make_up(transaction, next, context)?) {
        let ends_at = context.now;
        // A database that was restored, or is new, counts from numbers whose files may be there already.
        let name = format!("keys/{next:08}-{:016x}.zip", context.rng.next_u64());
        transaction.execute(
            "INSERT INTO batch (number, name, starts_at, ends_at, part, parts, key_count) VALUES ($1, $2, $3, $4, $5, 0,
             (SELECT count(*) FROM diagnosis_key WHERE batch = $1) + (SELECT count(*) FROM diagnosis_key WHERE revised_batch = $1))",
            &[
                next.into(),
                Value::Text(name),
                starts_at.unix_ms().into(),
                ends_at.unix_ms().into(),
                Value::Integer(next - first + 1),
            ],
        )?;
        next += 1;
    }
    transaction.execute("UPDATE batch SET parts = $1 WHERE number >= $2", &[Value::Integer(next - first), first.into()])?;
    set_number(transaction, "batch_number", next - 1)?;
    set_number(transaction, "batch_at", context.now.unix_ms())?;
    set_number(transaction, "published_at", if next > first { context.now } else { published }.unix_ms())?;
    Ok(usize::try_from(next - first).unwrap_or(0))
}

/// Puts keys into a batch: those that are free, ordered by value, and those that were revised. Whether there are any.
fn fill(transaction: &mut dyn Transaction, batch: i64, context: &mut Context<'_>) -> Result<bool, DatabaseError> {
    let maximum = i64::from(context.policy.maximum_keys);
    let new = transaction.execute(
        "UPDATE diagnosis_key SET batch = $1 WHERE key_bytes IN (SELECT key_bytes FROM diagnosis_key
         WHERE batch IS NULL AND test_type <> 'negative' AND free_at <= $2 ORDER BY key_bytes LIMIT $3)",
        &[batch.into(), context.now.unix_ms().into(), maximum.into()],
    )?;
    let new = i64::try_from(new).unwrap_or(maximum);
    let revised = transaction.execute(
        "UPDATE diagnosis_key SET revised_batch = $1 WHERE key_bytes IN (SELECT key_bytes FROM diagnosis_key
         WHERE revised_type IS NOT NULL AND revised_batch IS NULL AND batch < $2 ORDER BY key_bytes LIMIT $3)",
        &[batch.into(), batch.into(), Value::Integer(maximum - new)],
    )?;
    let count = new + i64::try_from(revised).unwrap_or(0);
    let minimum = i64::from(context.policy.minimum_keys);
    if count > 0 && count < minimum {
        pad(transaction, batch, usize::try_from(minimum - count).unwrap_or(0), context)?;
    }
    Ok(count > 0)
}

/// Adds made-up keys to a batch, like its real ones. They stay in the database, so that the file can be made again.
fn pad(transaction: &mut dyn Transaction, batch: i64, missing: usize, context: &mut Context<'_>) -> Result<(), DatabaseError> {
    let mut models = keys_of(transaction, "batch", "test_type", "onset_days", batch)?;
    if models.is_empty() {
        models = keys_of(transaction, "revised_batch", "test_type", "onset_days", batch)?;
    }
    let real = models.len();
    pad_with_made_up_keys(&mut models, real + missing, context.rng);
    insert_made_up(transaction, batch, &models[real..], context)
}

/// Makes a batch of made-up keys alone: whole days that could be published by now. Whether a batch has a minimum at all.
fn make_up(transaction: &mut dyn Transaction, batch: i64, context: &mut Context<'_>) -> Result<bool, DatabaseError> {
    let today = context.now.before(EMBARGO).date();
    let mut keys = Vec::new();
    for _ in 0..context.policy.minimum_keys {
        let back = u32::try_from(1 + context.rng.next_u64() % MADE_UP_DAYS).unwrap_or(1);
        keys.push(DiagnosisKey {
            key: TemporaryExposureKey::generate(today.minus(back).first_interval(), context.rng),
            report_type: Some(TestType::Confirmed.report_type()),
            days_since_onset: None,
            transmission_risk: 0,
        });
    }
    insert_made_up(transaction, batch, &keys, context)?;
    Ok(!keys.is_empty())
}

fn insert_made_up(
    transaction: &mut dyn Transaction,
    batch: i64,
    keys: &[DiagnosisKey],
    context: &mut Context<'_>,
) -> Result<(), DatabaseError> {
    for key in keys {
        let mut owner_hash = [0; 32];
        context.rng.fill_bytes(&mut owner_hash);
        let is_likely = key.report_type == Some(TestType::Likely.report_type());
        let test = if is_likely { TestType::Likely } else { TestType::Confirmed };
        transaction.execute(
            "INSERT INTO diagnosis_key (key_bytes, rolling_start, rolling_period, transmission_risk, test_type, onset_days, free_at,
             received_day, owner_hash, is_made_up, batch) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, 1, $9)",
            &[
                (*key.key.as_bytes()).into(),
                i64::from(key.key.rolling_start().number()).into(),
                i64::from(key.key.rolling_period()).into(),
                i64::from(key.transmission_risk).into(),
                test.as_str().into(),
                key.days_since_onset.map(i64::from).into(),
                i64::from(context.now.date().days()).into(),
                owner_hash.into(),
                batch.into(),
            ],
        )?;
    }
    Ok(())
}

/// The first batch that is planned and not written.
///
/// # Errors
/// [`DatabaseError`].
pub fn load_unwritten(transaction: &mut dyn Transaction, context: &Context<'_>) -> Result<Option<Batch>, DatabaseError> {
    let statement = format!("{BATCH} WHERE written_at IS NULL ORDER BY number LIMIT 1");
    let rows = transaction.query(&statement, &[])?;
    rows.first().map(|row| load(transaction, row, context)).transpose()
}

/// A batch that is written already, as long as none of its keys is erased.
///
/// # Errors
/// [`DatabaseError`].
pub fn load_written(
    transaction: &mut dyn Transaction,
    number: i64,
    context: &Context<'_>,
) -> Result<Option<Batch>, DatabaseError> {
    let statement = format!("{BATCH} WHERE written_at IS NOT NULL AND number = $1");
    let rows = transaction.query(&statement, &[number.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let batch = load(transaction, row, context)?;
    Ok((i64::try_from(batch.len()) == Ok(row.integer(6)?)).then_some(batch))
}

const BATCH: &str = "SELECT number, name, starts_at, ends_at, part, parts, key_count FROM batch";

fn load(transaction: &mut dyn Transaction, row: &Row, context: &Context<'_>) -> Result<Batch, DatabaseError> {
    let number = row.integer(0)?;
    let part = |column| Ok::<_, DatabaseError>(i32::try_from(row.integer(column)?).unwrap_or(1));
    let header = ExportHeader {
        start: Timestamp::from_unix_ms(row.integer(2)?),
        end: Timestamp::from_unix_ms(row.integer(3)?),
        region: context.policy.region.clone(),
        batch_num: part(4)?,
        batch_size: part(5)?,
        signatures: vec![SignatureInfo::new(&context.policy.key_id, context.secrets.exports.signing().0)],
    };
    Ok(Batch {
        number,
        name: row.text(1)?.to_owned(),
        header,
        keys: keys_of(transaction, "batch", "test_type", "onset_days", number)?,
        revised: keys_of(transaction, "revised_batch", "revised_type", "revised_onset_days", number)?,
    })
}

/// The keys of a batch. The names of columns are ours.
fn keys_of(
    transaction: &mut dyn Transaction,
    batch: &str,
    test: &str,
    onset: &str,
    number: i64,
) -> Result<Vec<DiagnosisKey>, DatabaseError> {
    let statement = format!(
        "SELECT key_bytes, rolling_start, rolling_period, transmission_risk, {test}, {onset} FROM diagnosis_key
         WHERE {batch} = $1 ORDER BY key_bytes"
    );
    transaction.query(&statement, &[number.into()])?.iter().map(key).collect()
}

fn key(row: &Row) -> Result<DiagnosisKey, DatabaseError> {
    let key = TemporaryExposureKey::new(row.bytes(0)?, row.integer(1)?, row.integer(2)?);
    Ok(DiagnosisKey {
        key: key.map_err(|_| DatabaseError::Column { column: 0 })?,
        report_type: Some(test_type(row.text(4)?, 4)?.report_type()),
        days_since_onset: row.optional_integer(5)?.and_then(|days| i8::try_from(days).ok()),
        transmission_risk: u8::try_from(row.integer(3)?).unwrap_or(0),
    })
}

/// The file of this batch is where it belongs.
///
/// # Errors
/// [`DatabaseError`].
pub fn mark_written(transaction: &mut dyn Transaction, batch: i64, now: Timestamp) -> Result<(), DatabaseError> {
    let values = [now.unix_ms().into(), batch.into()];
    transaction.execute("UPDATE batch SET written_at = $1 WHERE number = $2 AND written_at IS NULL", &values)?;
    Ok(())
}

/// The text of `index.txt`: a name a line, oldest first.
///
/// # Errors
/// [`DatabaseError`].
pub fn index(transaction: &mut dyn Transaction, now: Timestamp) -> Result<String, DatabaseError> {
    Ok(listed(transaction, now)?.into_iter().map(|file| file.name + "\n").collect())
}

/// The files that the index lists, oldest first.
///
/// # Errors
/// [`DatabaseError`].
pub fn listed(transaction: &mut dyn Transaction, now: Timestamp) -> Result<Vec<Published>, DatabaseError> {
    let rows = transaction.query(
        "SELECT number, name FROM batch WHERE ends_at > $1 AND number < (SELECT coalesce(min(number), 9223372036854775807)
         FROM batch WHERE written_at IS NULL) ORDER BY number",
        &[now.before(RETENTION).unix_ms().into()],
    )?;
    rows.iter().map(published).collect()
}

pub(super) fn published(row: &Row) -> Result<Published, DatabaseError> {
    Ok(Published { number: row.integer(0)?, name: row.text(1)?.to_owned() })
}

fn number(transaction: &mut dyn Transaction, name: &str) -> Result<Option<i64>, DatabaseError> {
    let rows = transaction.query("SELECT number FROM setting WHERE name = $1", &[name.into()])?;
    rows.first().map_or(Ok(None), |row| row.optional_integer(0))
}

fn set_number(transaction: &mut dyn Transaction, name: &str, number: i64) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO setting (name, number) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET number = excluded.number",
        &[name.into(), number.into()],
    )?;
    Ok(())
}
