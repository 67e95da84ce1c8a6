//! Giving out codes.

use std::time::Duration;

use vigie::courier::VerificationCode;
use vigie::time::{Date, Timestamp};

use super::{Context, Refusal, RuleError, TestType};
use crate::database::{Transaction, Value};

/// How long a code of 8 digits is good.
const SHORT_LIFE: Duration = Duration::from_secs(3600);

/// How long ago symptoms may have begun, in days.
const MAX_ONSET_DAYS: u32 = 28;

/// What a health authority asks for.
#[derive(Debug, Clone, Copy)]
pub struct Issue {
    /// The type of test.
    pub test_type: TestType,
    /// When symptoms began, where that is known.
    pub onset: Option<Date>,
    /// When the test was made, where that is known.
    pub tested: Option<Date>,
    /// 8 digits in place of 16 symbols.
    pub is_short: bool,
}

/// A code and its end.
pub struct Issued {
    /// The code.
    pub code: VerificationCode,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// A new code.
///
/// # Errors
/// [`Refusal::BadRequest`] for days that cannot be, and for a short code where there are none.
pub fn issue(transaction: &mut dyn Transaction, request: &Issue, context: &mut Context<'_>) -> Result<Issued, RuleError> {
    let today = context.now.date();
    let is_possible = |date: &Date| today.minus(MAX_ONSET_DAYS) <= *date && *date <= today;
    if request.onset.iter().chain(&request.tested).any(|date| !is_possible(date)) {
        return Err(Refusal::BadRequest("symptoms and test are at most 28 days ago, and not in the future").into());
    }
    if request.is_short && !context.policy.has_short_codes {
        return Err(Refusal::BadRequest("the server was started without --short").into());
    }
    let life = if request.is_short { SHORT_LIFE } else { Duration::from_secs(u64::from(context.policy.code_hours) * 3600) };
    let expires_at = context.now.after(life);
    // Of 10^8 short codes one may be given out already; then the next one is taken.
    loop {
        let code = generate(request.is_short, context)?;
        let days = |date: Option<Date>| date.map(|date| i64::from(date.days()));
        let inserted = transaction.execute(
            "INSERT INTO code (code_hash, test_type, onset_day, test_day, expires_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (code_hash) DO NOTHING",
            &[
                context.secrets.tag("code", &[code.as_str().as_bytes()]).into(),
                request.test_type.as_str().into(),
                days(request.onset).into(),
                days(request.tested).into(),
                Value::Integer(expires_at.unix_ms()),
            ],
        )?;
        if inserted == 1 {
            return Ok(Issued { code, expires_at });
        }
    }
}

fn generate(is_short: bool, context: &mut Context<'_>) -> Result<VerificationCode, Refusal> {
    if !is_short {
        return Ok(VerificationCode::generate(context.rng));
    }
    let mut bytes = [0; 8];
    context.rng.fill_bytes(&mut bytes);
    // The bias of this remainder is below 2^-37.
    let number = u64::from_le_bytes(bytes) % 100_000_000;
    VerificationCode::parse(&format!("{number:08}")).map_err(|_| Refusal::BadRequest("no short code can be made"))
}
