//! What a person does with sign-ups on this device. Each of it is durable when it returns, and goes with the courier's next turns.

use zeroize::Zeroizing;

use super::form::Form;
use super::kept::{Change, SignUp, Standing, changes, keep, load};
use super::recovery::RecoveryCode;
use super::sealed::SealedForm;
use super::sign_up::{SignUpChange, SignUpError, SignUpId, SignUpRefusal};
use super::wire::{CorrectRequest, OperationId, STATUS_PATH, SignUpRequest, StatusRequest};
use crate::courier::servers::WaitlistServer;
use crate::courier::{Context, Courier};
use crate::store::{Changes, OutboxEntry, Store, StoreError};
use crate::time::Timestamp;

/// A year that no clock shows that works, for one that does not.
const NO_YEAR: u16 = 9_999;

impl Courier {
    /// Signs somebody up: checks the form, seals it, and keeps what is sealed in the outbox. The person has been shown the recovery code before.
    ///
    /// # Errors
    /// [`SignUpError`], but for [`NoSuchSignUp`](SignUpError::NoSuchSignUp) and those of an earlier change.
    pub fn sign_up(&mut self, context: &mut Context<'_>, form: &Form, code: &RecoveryCode) -> Result<SignUpId, SignUpError> {
        let waitlist = self.waitlist_now(context.store)?.ok_or(SignUpError::NoWaitlist)?;
        if let Some(id) = with_code(context.store, code)? {
            return Err(SignUpError::CodeInUse { id });
        }
        let id = SignUpId(random_id(context));
        let sealed = seal(&waitlist, form, code.operation_id(), context)?;
        let change = sign_up(id, code, sealed, context.now);
        let made = vec![entry(context, &change)];
        context.store.keep_changes(&Changes { made, ..Changes::default() })?;
        Ok(id)
    }

    /// Takes up a sign-up that was made on another phone or on the page. It is asked how it stands, and then kept like one that was made here. One that
    /// is here already is asked for.
    ///
    /// # Errors
    /// [`SignUpError::NoWaitlist`] and [`SignUpError::Store`].
    pub fn recover_sign_up(&self, context: &mut Context<'_>, code: &RecoveryCode) -> Result<SignUpId, SignUpError> {
        self.waitlist()?;
        let id = match with_code(context.store, code)? {
            Some(id) => id,
            None => {
                let id = SignUpId(random_id(context));
                let mut sign_ups = load(context.store)?;
                sign_ups.push(SignUp::new(id, context.now.unix_ms(), code.clone(), context.rng.next_u64()));
                keep(context.store, &sign_ups, Changes::default())?;
                id
            }
        };
        self.ask_sign_up(context, id)?;
        Ok(id)
    }

    /// Asks how a sign-up stands as soon as the server wants to be asked. One whose change is on its way is asked for when that is through.
    ///
    /// # Errors
    /// [`SignUpError::NoWaitlist`], [`SignUpError::NoSuchSignUp`] and [`SignUpError::Store`].
    pub fn ask_sign_up(&self, context: &mut Context<'_>, id: SignUpId) -> Result<(), SignUpError> {
        let url = format!("{}{STATUS_PATH}", self.waitlist()?.url.trim_end_matches('/'));
        let mut sign_ups = load(context.store)?;
        let Some(sign_up) = sign_ups.iter_mut().find(|sign_up| sign_up.id == id) else {
            let is_changing = changes(context.store)?.iter().any(|(_, change)| change.sign_up == id);
            return if is_changing { Ok(()) } else { Err(SignUpError::NoSuchSignUp) };
        };
        let due = self.pacer(context.store, &url)?.1.at_once(context.now);
        let asking = &mut sign_up.asking;
        (asking.due_ms, asking.attempts, asking.is_awaited) = (Some(due.unix_ms()), 0, true);
        Ok(keep(context.store, &sign_ups, Changes::default())?)
    }

    /// Puts another form in the place of the one that was sent. The place stays. Where the sign-up [needs the form](super::SignUpState::NeedsForm) or
    /// was not taken, it begins anew with this form, under the same recovery code.
    ///
    /// # Errors
    /// [`SignUpError`], but for [`CodeInUse`](SignUpError::CodeInUse).
    pub fn correct_sign_up(&mut self, context: &mut Context<'_>, id: SignUpId, form: &Form) -> Result<(), SignUpError> {
        let waitlist = self.waitlist_now(context.store)?.ok_or(SignUpError::NoWaitlist)?;
        if changes(context.store)?.iter().any(|(_, change)| change.sign_up == id) {
            return Err(SignUpError::ChangeUnderWay);
        }
        let sign_ups = load(context.store)?;
        let sign_up = sign_ups.iter().find(|sign_up| sign_up.id == id).ok_or(SignUpError::NoSuchSignUp)?;
        let change = match sign_up.standing {
            Standing::Withdrawn => return Err(SignUpError::Withdrawn),
            Standing::Received | Standing::Processed | Standing::Asked | Standing::Rejected(SignUpRefusal::CodeUsed) => {
                correction(&waitlist, sign_up, form, context)?
            }
            Standing::Rejected(_) if sign_up.receipt.is_some() => correction(&waitlist, sign_up, form, context)?,
            // Nothing was stored under this code.
            Standing::NeedsForm | Standing::Rejected(_) => {
                let sealed = seal(&waitlist, form, sign_up.code.operation_id(), context)?;
                self::sign_up(id, &sign_up.code, sealed, context.now)
            }
        };
        let made = vec![entry(context, &change)];
        Ok(context.store.keep_changes(&Changes { made, ..Changes::default() })?)
    }

    /// Withdraws a sign-up. It takes the place of any other change that is on its way. Withdrawing twice is no error.
    ///
    /// # Errors
    /// [`SignUpError::NoWaitlist`], [`SignUpError::NoSuchSignUp`] and [`SignUpError::Store`].
    pub fn withdraw_sign_up(&self, context: &mut Context<'_>, id: SignUpId) -> Result<(), SignUpError> {
        self.waitlist()?;
        let kept = load(context.store)?.into_iter().find(|sign_up| sign_up.id == id);
        let others: Vec<_> = changes(context.store)?.into_iter().filter(|(_, change)| change.sign_up == id).collect();
        if others.iter().any(|(_, change)| change.kind == SignUpChange::Withdrawal) {
            return Ok(());
        }
        let (made_ms, code) = match (&kept, others.first()) {
            (Some(kept), _) if kept.standing == Standing::Withdrawn => return Ok(()),
            (Some(kept), _) => (kept.made_ms, kept.code.clone()),
            (None, Some((_, change))) => (change.made_ms, change.code.clone()),
            (None, None) => return Err(SignUpError::NoSuchSignUp),
        };
        let change = withdrawal(id, made_ms, code);
        let made = vec![entry(context, &change)];
        let dropped = others.iter().map(|(entry, _)| entry.id).collect();
        Ok(context.store.keep_changes(&Changes { made, dropped, ..Changes::default() })?)
    }

    /// The waiting list with its keys as they are now: those that the bulletin names, too.
    pub(super) fn waitlist_now(&mut self, store: &Store) -> Result<Option<WaitlistServer>, StoreError> {
        let Some(waitlist) = self.servers.waitlist.clone() else { return Ok(None) };
        Ok(Some(match self.bulletin(store)? {
            Some(kept) => waitlist.with_keys(&kept.bulletin.keys),
            None => waitlist,
        }))
    }

    fn waitlist(&self) -> Result<&WaitlistServer, SignUpError> {
        self.servers.waitlist.as_ref().ok_or(SignUpError::NoWaitlist)
    }
}

/// Removes a sign-up from this device, and nowhere else: with the recovery code it can be recovered. What is on its way is not sent any more, and may
/// have arrived. `false` where there is none.
///
/// # Errors
/// [`StoreError`].
pub fn forget_sign_up(context: &mut Context<'_>, id: SignUpId) -> Result<bool, StoreError> {
    let mut sign_ups = load(context.store)?;
    let before = sign_ups.len();
    sign_ups.retain(|sign_up| sign_up.id != id);
    let of_it = changes(context.store)?.into_iter().filter(|(_, change)| change.sign_up == id);
    let dropped: Vec<i64> = of_it.map(|(entry, _)| entry.id).collect();
    if sign_ups.len() == before && dropped.is_empty() {
        return Ok(false);
    }
    keep(context.store, &sign_ups, Changes { dropped, ..Changes::default() })?;
    Ok(true)
}

/// The sign-up of this device that has this code.
fn with_code(store: &Store, code: &RecoveryCode) -> Result<Option<SignUpId>, StoreError> {
    let kept = load(store)?.into_iter().find(|sign_up| sign_up.code == *code).map(|sign_up| sign_up.id);
    let change = changes(store)?.into_iter().find(|(_, change)| change.code == *code).map(|(_, change)| change.sign_up);
    Ok(kept.or(change))
}

/// Checks the form as it is meant, and seals it for this operation.
fn seal(
    waitlist: &WaitlistServer,
    form: &Form,
    operation: OperationId,
    context: &mut Context<'_>,
) -> Result<SealedForm, SignUpError> {
    let form = Zeroizing::new(form.canonical());
    form.check(&waitlist.form, year(context.now))?;
    Ok(waitlist.sealing_key()?.seal(&form, operation, context.rng)?)
}

fn sign_up(id: SignUpId, code: &RecoveryCode, form: SealedForm, now: Timestamp) -> Change {
    let (operation, secret_hash) = (code.operation_id(), code.secret().hash());
    let form_hash = form.hash(operation, &secret_hash);
    let body = json(&SignUpRequest { form, secret_hash });
    let kind = SignUpChange::SignUp;
    let (sign_up, made_ms, code) = (id, now.unix_ms(), code.clone());
    Change { kind, sign_up, made_ms, code, operation, form_hash, body, is_offline: false, was_told: false }
}

fn correction(
    waitlist: &WaitlistServer,
    sign_up: &SignUp,
    form: &Form,
    context: &mut Context<'_>,
) -> Result<Change, SignUpError> {
    let mut operation = OperationId([0; 16]);
    context.rng.fill_bytes(&mut operation.0);
    let form = seal(waitlist, form, operation, context)?;
    let secret = sign_up.code.secret();
    let form_hash = form.hash(operation, &secret.hash());
    let body = json(&CorrectRequest { operation_id: sign_up.code.operation_id(), secret, form });
    let (kind, made_ms, code) = (SignUpChange::Correction, sign_up.made_ms, sign_up.code.clone());
    Ok(Change { kind, sign_up: sign_up.id, made_ms, code, operation, form_hash, body, is_offline: false, was_told: false })
}

fn withdrawal(id: SignUpId, made_ms: i64, code: RecoveryCode) -> Change {
    let operation = code.operation_id();
    let body = json(&StatusRequest { operation_id: operation, secret: code.secret() });
    let (kind, form_hash) = (SignUpChange::Withdrawal, [0; 32]);
    Change { kind, sign_up: id, made_ms, code, operation, form_hash, body, is_offline: false, was_told: false }
}

fn json(request: &impl serde::Serialize) -> Zeroizing<String> {
    // Only maps with keys that are no text fail, and there are none.
    Zeroizing::new(serde_json::to_string(request).unwrap_or_default())
}

fn entry(context: &mut Context<'_>, change: &Change) -> OutboxEntry {
    let id = random_id(context);
    OutboxEntry { id, made_at: context.now, due: Some(context.now), attempts: 0, content: change.encode() }
}

fn random_id(context: &mut Context<'_>) -> i64 {
    (context.rng.next_u64() >> 1) as i64
}

/// The present year, by a clock that may be wrong.
fn year(now: Timestamp) -> u16 {
    now.date().to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or(NO_YEAR)
}
