//! Exchanging a code for a token.
//!
//! The same code with the same idempotency key gets the same token, as often as it is asked for: the token is derived from both, and neither is kept.
//! Without an idempotency key, or with another, a code is good once.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use vigie::courier::VerificationCode;
use vigie::courier::wire::{self, VerifyRequest, VerifyResponse};

use super::{Context, Refusal, RuleError, TestType, date, test_type};
use crate::database::{Row, Transaction, Value};

/// How long a token is good, as on deployed servers.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The longest idempotency key, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Bytes of random padding in an answer, and as many more.
pub(super) const PADDING: usize = 1024;

/// Exchanges a code.
///
/// # Errors
/// [`Refusal`]; the code is not used up then.
pub fn verify(
    transaction: &mut dyn Transaction,
    request: &VerifyRequest,
    idempotency_key: Option<&[u8]>,
    context: &mut Context<'_>,
) -> Result<VerifyResponse, RuleError> {
    if idempotency_key.is_some_and(|key| key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY) {
        return Err(Refusal::Unparsable("an idempotency key has 1 to 255 bytes").into());
    }
    let code = VerificationCode::parse(&request.code).map_err(|_| Refusal::CodeInvalid)?;
    let code_hash = context.secrets.tag("code", &[code.as_str().as_bytes()]);
    let rows = transaction.query(
        "SELECT test_type, onset_day, test_day, expires_at, used_at, repeat_hash FROM code WHERE code_hash = $1",
        &[code_hash.into()],
    )?;
    let row = rows.first().ok_or(Refusal::CodeNotFound)?;
    let repeat = idempotency_key.map(|key| context.secrets.tag("repeat", &[&code_hash, key]));
    if row.optional_integer(4)?.is_some() {
        return match (repeat, row.optional_bytes(5)?) {
            (Some(repeat), Some(first)) if context.secrets.is_same(&repeat, first) => {
                answer(row, derived(&code_hash, idempotency_key, context), context)
            }
            _ => Err(Refusal::CodeInvalid.into()),
        };
    }
    if row.integer(3)? <= context.now.unix_ms() {
        return Err(Refusal::CodeExpired.into());
    }
    let test = test_type(row.text(0)?, 0)?;
    if !accepted(&request.accept)?.contains(&test) {
        return Err(Refusal::UnsupportedTestType.into());
    }
    let token = derived(&code_hash, idempotency_key, context);
    transaction.execute(
        "UPDATE code SET used_at = $1, repeat_hash = $2 WHERE code_hash = $3",
        &[context.now.unix_ms().into(), repeat.map_or(Value::Null, Value::from), code_hash.into()],
    )?;
    transaction.execute(
        "INSERT INTO token (token_hash, test_type, onset_day, expires_at) VALUES ($1, $2, $3, $4)",
        &[
            context.secrets.tag("token hash", &[token.as_bytes()]).into(),
            test.as_str().into(),
            row.optional_integer(1)?.into(),
            context.now.after(TOKEN_LIFE).unix_ms().into(),
        ],
    )?;
    answer(row, token, context)
}

/// The same for the same idempotency key; random without one.
fn derived(code_hash: &[u8], idempotency_key: Option<&[u8]>, context: &mut Context<'_>) -> String {
    let bytes = match idempotency_key {
        Some(key) => context.secrets.tag("token", &[code_hash, key]),
        None => {
            let mut bytes = [0; 32];
            context.rng.fill_bytes(&mut bytes);
            bytes
        }
    };
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn answer(row: &Row, token: String, context: &mut Context<'_>) -> Result<VerifyResponse, RuleError> {
    let day = |column| Ok::<_, RuleError>(row.optional_integer(column)?.map(|days| date(days).to_string()));
    Ok(VerifyResponse {
        testtype: row.text(0)?.to_owned(),
        symptom_date: day(1)?,
        test_date: day(2)?,
        token,
        padding: wire::padding(PADDING, context.rng),
    })
}

/// Who can handle `likely` can handle `confirmed`, and who can handle `negative` can handle all, as on deployed servers; nothing said is everything.
fn accepted(words: &[String]) -> Result<&'static [TestType], Refusal> {
    const ALL: &[TestType] = &[TestType::Confirmed, TestType::Likely, TestType::Negative];
    let mut known = if words.is_empty() { ALL.len() } else { 0 };
    for word in words {
        // Users' own reports are never given out here; that an app could handle them is no mistake.
        if word == "user-report" {
            continue;
        }
        let test = TestType::parse(word).ok_or(Refusal::InvalidTestType)?;
        known = known.max(ALL.iter().position(|known| *known == test).map_or(0, |at| at + 1));
    }
    Ok(&ALL[..known])
}
