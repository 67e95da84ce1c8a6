//! Reports: keys that come in with a certificate, and keys that are revised.
//!
//! ```text
//! revision token  base64(seal(owner))                     owner: 16 bytes that follow from a device's first report
//! owner_hash      HMAC(hash key, owner, key)              beside each key, so that only its device can revise it
//! report_hash     HMAC(hash key, HMAC key, HMAC of keys)  knows a repeat by its keys and its HMAC key; padding is not content
//! ```
//!
//! A repeat is answered as it was at first, also where its certificate has expired since; a certificate that says another type of test makes it a
//! revision. Source of the checks: google/exposure-notifications-server, `internal/publish`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use vigie::courier::wire::{self, MAX_KEYS, PublishRequest, PublishResponse, PublishedKey, keys_hmac};
use vigie::keys::{KeyError, TemporaryExposureKey};
use vigie::time::EnIntervalNumber;

use super::verify::PADDING;
use super::{Context, Refusal, RuleError, TestType, test_type};
use crate::database::{Transaction, Value};

/// The shortest key of an HMAC, in bytes.
const MIN_HMAC_KEY: usize = 16;

/// How old the beginning of a key may be, in days.
const MAX_AGE_DAYS: u32 = 15;

/// The most keys with the same beginning.
const MAX_SAME_START: usize = 3;

/// How far the clock of a device may be ahead, in intervals.
const SKEW_INTERVALS: u32 = 1;

/// A key is published this long after its end at the earliest: until then its identifiers could be sent again.
pub(super) const EMBARGO: Duration = Duration::from_secs(2 * 3600);

/// A report of which everything was checked that needs no database.
pub struct Report {
    report_hash: [u8; 32],
    owner: Option<[u8; 16]>,
    certified: Result<(TestType, Option<u32>), Refusal>,
    keys: Vec<Result<ReportedKey, &'static str>>,
}

struct ReportedKey {
    key: TemporaryExposureKey,
    transmission_risk: i64,
    onset_days: Option<i64>,
}

impl Report {
    /// Checks a report. Signatures are verified here, so that no transaction waits for them.
    ///
    /// # Errors
    /// [`Refusal`] for what can be no report, nor the repeat of one.
    pub fn check(request: &PublishRequest, context: &Context<'_>) -> Result<Self, Refusal> {
        let secrets = context.secrets;
        if request.health_authority_id != context.policy.health_authority_id {
            return Err(Refusal::UnknownHealthAuthority);
        }
        if request.temporary_exposure_keys.is_empty() || request.temporary_exposure_keys.len() > MAX_KEYS {
            return Err(Refusal::BadRequest("a report has 1 to 30 keys"));
        }
        let hmac_key = BASE64_STANDARD.decode(&request.hmac_key).ok().filter(|key| key.len() >= MIN_HMAC_KEY);
        let hmac_key = hmac_key.ok_or(Refusal::BadRequest("the HMAC key is not 16 bytes or more in base64"))?;
        let hmac = keys_hmac(&request.temporary_exposure_keys, &hmac_key);
        let certified = certified(request, &hmac, context);
        let onset = match &certified {
            Ok((_, Some(onset))) => Some(*onset),
            _ => u32::try_from(request.symptom_onset_interval).ok().filter(|onset| *onset > 0),
        };
        Ok(Self {
            report_hash: secrets.tag("report", &[&hmac_key, &hmac]),
            owner: BASE64_STANDARD
                .decode(&request.revision_token)
                .ok()
                .and_then(|sealed| secrets.unseal(&sealed))
                .and_then(|owner| owner.try_into().ok()),
            certified,
            keys: checked_keys(&request.temporary_exposure_keys, onset, context),
        })
    }

    /// The device's; one that has none yet gets one that follows from its report, so that a repeat gets the same.
    fn owner(&self, context: &Context<'_>) -> [u8; 16] {
        self.owner.unwrap_or_else(|| {
            let mut owner = [0; 16];
            owner.copy_from_slice(&context.secrets.tag("owner", &[&self.report_hash])[..16]);
            owner
        })
    }
}

fn certified(request: &PublishRequest, hmac: &[u8], context: &Context<'_>) -> Result<(TestType, Option<u32>), Refusal> {
    let (secrets, policy) = (context.secrets, context.policy);
    let claims = secrets
        .certificates
        .verify(&request.verification_payload, &policy.issuer, &policy.audience, context.now)
        .ok_or(Refusal::CertificateInvalid)?;
    let tekmac = BASE64_STANDARD.decode(&claims.tekmac).map_err(|_| Refusal::CertificateInvalid)?;
    if !secrets.is_same(hmac, &tekmac) {
        return Err(Refusal::CertificateInvalid);
    }
    let test = TestType::parse(&claims.report_type).ok_or(Refusal::CertificateInvalid)?;
    Ok((test, Some(claims.symptom_onset_interval).filter(|onset| *onset > 0)))
}

/// Each key, or why it is dropped.
fn checked_keys(keys: &[PublishedKey], onset: Option<u32>, context: &Context<'_>) -> Vec<Result<ReportedKey, &'static str>> {
    let mut same_start: HashMap<EnIntervalNumber, usize> = HashMap::new();
    let mut seen = HashSet::new();
    keys.iter()
        .map(|published| {
            let reported = checked_key(published, onset, context)?;
            if !seen.insert(*reported.key.as_bytes()) {
                return Err("a key stands there twice");
            }
            let count = same_start.entry(reported.key.rolling_start()).or_default();
            *count += 1;
            if *count > MAX_SAME_START { Err("more than 3 keys have the same beginning") } else { Ok(reported) }
        })
        .collect()
}

fn checked_key(published: &PublishedKey, onset: Option<u32>, context: &Context<'_>) -> Result<ReportedKey, &'static str> {
    let key = published.parse().map_err(|e| match e {
        KeyError::Weak => "a key is no random one",
        KeyError::RollingPeriod { .. } => "a rolling period is not 1 to 144",
        KeyError::RollingStart { .. } => "a rolling start number cannot be",
        _ => "a key is not 16 bytes in base64",
    })?;
    let now = context.now.interval();
    let start = key.rolling_start();
    if start > now.plus(SKEW_INTERVALS) {
        return Err("a key begins in the future");
    }
    if start < context.now.date().minus(MAX_AGE_DAYS).first_interval() {
        return Err("a key is older than 15 days");
    }
    if !(0..=8).contains(&published.transmission_risk) {
        return Err("a transmission risk is not 0 to 8");
    }
    let days = onset.map(|onset| i64::from(start.date().days()) - i64::from(EnIntervalNumber::new(onset).date().days()));
    if days.is_some_and(|days| !(-14..=14).contains(&days)) {
        return Err("a key is more than 14 days from the onset of symptoms");
    }
    Ok(ReportedKey { key, transmission_risk: published.transmission_risk, onset_days: days })
}

/// Takes a report.
///
/// # Errors
/// [`Refusal`]; nothing of the report is taken then.
pub fn publish(
    transaction: &mut dyn Transaction,
    report: &Report,
    context: &mut Context<'_>,
) -> Result<PublishResponse, RuleError> {
    if let Some(answer) = repeated(transaction, report, context)? {
        return Ok(answer);
    }
    let (test, _) = report.certified?;
    let owner = report.owner(context);
    let mut warnings: Vec<&'static str> = report.keys.iter().filter_map(|key| key.as_ref().err().copied()).collect();
    let mut taken = 0;
    let usable: Vec<&ReportedKey> = report.keys.iter().filter_map(|key| key.as_ref().ok()).collect();
    if usable.is_empty() {
        return Err(Refusal::BadRequest(warnings.first().copied().unwrap_or("no key can be used")).into());
    }
    for reported in usable {
        match known(transaction, reported)? {
            Some(known) => taken += i64::from(revise(transaction, reported, &known, test, report.owner, context)?),
            None if test == TestType::Negative => warnings.push("a key that was never reported cannot be withdrawn"),
            None => {
                insert(transaction, reported, test, &owner, context)?;
                taken += 1;
            }
        }
    }
    transaction.execute(
        "INSERT INTO report (report_hash, test_type, inserted, is_partial, received_day) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (report_hash) DO UPDATE SET test_type = excluded.test_type, inserted = excluded.inserted",
        &[
            report.report_hash.into(),
            test.as_str().into(),
            taken.into(),
            i64::from(!warnings.is_empty()).into(),
            i64::from(context.now.date().days()).into(),
        ],
    )?;
    answer(report, taken, &warnings, context)
}

/// The answer that this report got before, where it did.
fn repeated(
    transaction: &mut dyn Transaction,
    report: &Report,
    context: &mut Context<'_>,
) -> Result<Option<PublishResponse>, RuleError> {
    let rows = transaction
        .query("SELECT test_type, inserted, is_partial FROM report WHERE report_hash = $1", &[report.report_hash.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let before = test_type(row.text(0)?, 0)?;
    if report.certified.is_ok_and(|(test, _)| test != before) {
        return Ok(None);
    }
    let warnings: &[&'static str] = if row.integer(2)? == 0 { &[] } else { &["some keys were dropped"] };
    answer(report, row.integer(1)?, warnings, context).map(Some)
}

fn answer(
    report: &Report,
    taken: i64,
    warnings: &[&'static str],
    context: &mut Context<'_>,
) -> Result<PublishResponse, RuleError> {
    let sealed =
        context.secrets.seal(&report.owner(context)).map_err(|_| Refusal::BadRequest("no revision token can be made"))?;
    let mut warnings: Vec<String> = warnings.iter().map(|warning| (*warning).to_owned()).collect();
    warnings.dedup();
    let is_partial = !warnings.is_empty();
    Ok(PublishResponse {
        revision_token: BASE64_STANDARD.encode(sealed),
        inserted_exposures: taken,
        error: if is_partial { warnings.join("; ") } else { String::new() },
        code: if is_partial { "partial_failure".into() } else { String::new() },
        padding: wire::padding(PADDING, context.rng),
        warnings,
    })
}

/// What is known of a key that was reported before.
struct Known {
    test: TestType,
    owner_hash: Vec<u8>,
    is_same_time: bool,
    is_published: bool,
    is_revised: bool,
}

fn known(transaction: &mut dyn Transaction, reported: &ReportedKey) -> Result<Option<Known>, RuleError> {
    let rows = transaction.query(
        "SELECT rolling_start, rolling_period, test_type, owner_hash, batch, revised_type FROM diagnosis_key WHERE key_bytes = $1",
        &[(*reported.key.as_bytes()).into()],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let revised = row.optional_text(5)?;
    let is_same_time = row.integer(0)? == i64::from(reported.key.rolling_start().number())
        && row.integer(1)? == i64::from(reported.key.rolling_period());
    Ok(Some(Known {
        test: test_type(revised.unwrap_or(row.text(2)?), 2)?,
        owner_hash: row.bytes(3)?.to_vec(),
        is_same_time,
        is_published: row.optional_integer(4)?.is_some(),
        is_revised: revised.is_some(),
    }))
}

/// Whether the key was changed. A key that is not published yet goes out as it is now, or, withdrawn, never.
fn revise(
    transaction: &mut dyn Transaction,
    reported: &ReportedKey,
    known: &Known,
    test: TestType,
    owner: Option<[u8; 16]>,
    context: &Context<'_>,
) -> Result<bool, RuleError> {
    let owner = owner.ok_or(Refusal::MissingRevisionToken)?;
    let owner_hash = owner_hash(&owner, reported, context);
    if !context.secrets.is_same(&owner_hash, &known.owner_hash) || !known.is_same_time {
        return Err(Refusal::InvalidRevisionToken.into());
    }
    if known.test == test {
        return Ok(false);
    }
    if known.is_revised {
        return Err(Refusal::KeyAlreadyRevised.into());
    }
    if !matches!(
        (known.test, test),
        (TestType::Likely, TestType::Confirmed) | (TestType::Likely | TestType::Confirmed, TestType::Negative)
    ) {
        return Err(Refusal::InvalidTransition.into());
    }
    let statement = if known.is_published {
        "UPDATE diagnosis_key SET revised_type = $1, revised_onset_days = $2 WHERE key_bytes = $3"
    } else {
        "UPDATE diagnosis_key SET test_type = $1, onset_days = $2 WHERE key_bytes = $3"
    };
    let values = [test.as_str().into(), reported.onset_days.into(), (*reported.key.as_bytes()).into()];
    Ok(transaction.execute(statement, &values)? == 1)
}

fn owner_hash(owner: &[u8; 16], reported: &ReportedKey, context: &Context<'_>) -> [u8; 32] {
    context.secrets.tag("owner hash", &[owner, reported.key.as_bytes()])
}

fn insert(
    transaction: &mut dyn Transaction,
    reported: &ReportedKey,
    test: TestType,
    owner: &[u8; 16],
    context: &Context<'_>,
) -> Result<(), RuleError> {
    let free_at = reported.key.end().start().after(EMBARGO);
    transaction.execute(
        "INSERT INTO diagnosis_key (key_bytes, rolling_start, rolling_period, transmission_risk, test_type, onset_days, free_at,
         received_day, owner_hash, is_made_up) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)",
        &[
            (*reported.key.as_bytes()).into(),
            i64::from(reported.key.rolling_start().number()).into(),
            i64::from(reported.key.rolling_period()).into(),
            reported.transmission_risk.into(),
            test.as_str().into(),
            reported.onset_days.into(),
            free_at.unix_ms().into(),
            Value::Integer(i64::from(context.now.date().days())),
            owner_hash(owner, reported, context).into(),
        ],
    )?;
    Ok(())
}
