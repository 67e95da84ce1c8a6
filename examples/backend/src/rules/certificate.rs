//! Exchanging a token for a certificate over certain keys.
//!
//! A token is bound to the first HMAC that it is presented with. That one is certified again as often as it is asked for, with a new end; another never.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use vigie::courier::wire::CertificateRequest;

use super::{Context, Refusal, RuleError, first_interval};
use crate::database::Transaction;
use crate::jwt::Claims;

/// How long a certificate is good, as on deployed servers.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// The longest token that is looked at, in bytes. Ours have 43.
const MAX_TOKEN: usize = 4096;

/// What the certificate is to say. Signing it needs no transaction.
///
/// # Errors
/// [`Refusal`]; the token is not used up then.
pub fn certificate(
    transaction: &mut dyn Transaction,
    request: &CertificateRequest,
    context: &mut Context<'_>,
) -> Result<Claims, RuleError> {
    let hmac = BASE64_STANDARD.decode(&request.ekeyhmac).ok().filter(|hmac| hmac.len() == 32).ok_or(Refusal::HmacInvalid)?;
    if request.token.is_empty() || request.token.len() > MAX_TOKEN {
        return Err(Refusal::TokenInvalid.into());
    }
    let token_hash = context.secrets.tag("token hash", &[request.token.as_bytes()]);
    let rows = transaction
        .query("SELECT test_type, onset_day, expires_at, hmac_hash FROM token WHERE token_hash = $1", &[token_hash.into()])?;
    let row = rows.first().ok_or(Refusal::TokenInvalid)?;
    let hmac_hash = context.secrets.tag("hmac", &[&token_hash, &hmac]);
    match row.optional_bytes(3)? {
        Some(first) if context.secrets.is_same(&hmac_hash, first) => {}
        Some(_) => return Err(Refusal::TokenExpired.into()),
        None if row.integer(2)? <= context.now.unix_ms() => return Err(Refusal::TokenExpired.into()),
        None => {
            transaction
                .execute("UPDATE token SET hmac_hash = $1 WHERE token_hash = $2", &[hmac_hash.into(), token_hash.into()])?;
        }
    }
    Ok(Claims {
        iss: context.policy.issuer.clone(),
        aud: context.policy.audience.clone(),
        iat: context.now.unix_s(),
        exp: context.now.after(LIFE).unix_s(),
        nbf: None,
        tekmac: BASE64_STANDARD.encode(&hmac),
        report_type: row.text(0)?.to_owned(),
        symptom_onset_interval: row.optional_integer(1)?.map_or(0, |days| first_interval(days).number()),
    })
}
