//! The waiting list: signing people up, and what they do with their sign-ups afterwards.
//!
//! The order for an app: [`RecoveryCode::generate`], show it and have it written down, then [`Tracer::sign_up`]. From then on nothing more is needed of the
//! person; [`Event::Courier`](super::Event::Courier) and [`Tracer::sign_ups`] say how it stands.

use super::{Tracer, TracerError, lock};
use crate::courier::waitlist::{self, Form, RecoveryCode, SignUpError, SignUpId, SignUpPapers, SignUpStatus};
use crate::courier::{Context, Courier};

impl From<SignUpError> for TracerError {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::Store(error) => Self::Store(error),
            error => Self::SignUp(error),
        }
    }
}

impl Tracer {
    /// Signs somebody up for the waiting list of the servers that are [connected](Self::connect): checks the form, seals it, and keeps what is sealed to be
    /// sent until it is answered, with each [`correspond`](Self::correspond). The form itself is not kept. Several people can sign up on one device.
    ///
    /// # Errors
    /// [`TracerError::SignUp`] where there is no waiting list, a field is wrong, or the recovery code belongs to another sign-up; [`TracerError::Store`].
    /// Nothing is kept or sent then.
    pub fn sign_up(&self, form: &Form, code: &RecoveryCode) -> Result<SignUpId, TracerError> {
        self.change(|courier, context| courier.sign_up(context, form, code))
    }

    /// The sign-ups of this device, oldest first.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn sign_ups(&self) -> Result<Vec<SignUpStatus>, TracerError> {
        self.with(|state| Ok(waitlist::sign_ups(state.store()?)?))
    }

    /// Recovery code and receipt of a sign-up, for the person alone; `None` where there is none with this name.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn sign_up_papers(&self, id: SignUpId) -> Result<Option<SignUpPapers>, TracerError> {
        self.with(|state| Ok(waitlist::sign_up_papers(state.store()?, id)?))
    }

    /// Takes up a sign-up that was made elsewhere: the server is asked how it stands, and it is kept like one that was made here. One that is here
    /// already is asked for.
    ///
    /// # Errors
    /// [`TracerError::SignUp`] where there is no waiting list; [`TracerError::Store`].
    pub fn recover_sign_up(&self, code: &RecoveryCode) -> Result<SignUpId, TracerError> {
        self.change(|courier, context| courier.recover_sign_up(context, code))
    }

    /// Puts another form in the place of the one that was sent; the place stays. Where the form is
    /// [needed again](waitlist::SignUpState::NeedsForm), or was not taken at all, the sign-up begins anew with it, under the same recovery code.
    ///
    /// # Errors
    /// [`TracerError::SignUp`] where a field is wrong, an earlier change is still on its way, the sign-up is withdrawn, or there is none with this name;
    /// [`TracerError::Store`].
    pub fn correct_sign_up(&self, id: SignUpId, form: &Form) -> Result<(), TracerError> {
        self.change(|courier, context| courier.correct_sign_up(context, id, form))
    }

    /// Withdraws a sign-up, whatever else is on its way. Withdrawing twice is no error.
    ///
    /// # Errors
    /// [`TracerError::SignUp`] where there is no waiting list, or no sign-up with this name; [`TracerError::Store`].
    pub fn withdraw_sign_up(&self, id: SignUpId) -> Result<(), TracerError> {
        self.change(|courier, context| courier.withdraw_sign_up(context, id))
    }

    /// Asks now how a sign-up stands, because a person waits for it; otherwise that is asked once in 4 hours, until it is processed or rejected.
    ///
    /// # Errors
    /// As [`withdraw_sign_up`](Self::withdraw_sign_up).
    pub fn ask_sign_up(&self, id: SignUpId) -> Result<(), TracerError> {
        self.change(|courier, context| courier.ask_sign_up(context, id))
    }

    /// Removes a sign-up from this device alone; with its recovery code it can be recovered. `false` where there is none with this name.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn forget_sign_up(&self, id: SignUpId) -> Result<bool, TracerError> {
        let now = self.clock.now();
        self.with(|state| Ok(waitlist::forget_sign_up(&mut state.context(now)?, id)?))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Courier, &mut Context<'_>) -> Result<T, SignUpError>) -> Result<T, TracerError> {
        let connection = self.connection().ok_or(SignUpError::NoWaitlist)?;
        let now = self.clock.now();
        let mut courier = lock(&connection.courier);
        let changed = self.with(|state| Ok(change(&mut courier, &mut state.context(now)?)?));
        drop(courier);
        self.wake_correspondence();
        changed
    }
}
