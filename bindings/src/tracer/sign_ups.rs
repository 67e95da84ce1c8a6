//! The waiting list: signing people up, and what they do with their sign-ups afterwards.
//!
//! The order for an app: [`new_recovery_code`](crate::new_recovery_code), show it and have it written down, then [`Tracer::sign_up`]. From then on nothing
//! more is needed of the person.

use vigie::courier::waitlist::SignUpId;
use zeroize::Zeroizing;

use super::Tracer;
use crate::error::VigieError;
use crate::waitlist::{SignUp, SignUpForm, SignUpPapers, read_recovery_code};

#[uniffi::export]
impl Tracer {
    /// Signs somebody up for the waiting list: checks the form, seals it, and keeps what is sealed to be sent until it is answered. The form itself is not
    /// kept. Several people can sign up on one device. Gives the sign-up's name on this device.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where there is no waiting list, a field is wrong, or the recovery code belongs to another sign-up;
    /// `VigieError::Storage`. Nothing is kept or sent then.
    pub async fn sign_up(&self, form: SignUpForm, recovery_code: String) -> Result<i64, VigieError> {
        let (form, code) = (Zeroizing::new(form.into_core()), read_recovery_code(&recovery_code)?);
        self.run(move |tracer| Ok(tracer.sign_up(&form, &code)?.0)).await
    }

    /// The sign-ups of this device, oldest first.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn sign_ups(&self) -> Result<Vec<SignUp>, VigieError> {
        self.run(|tracer| Ok(tracer.sign_ups()?.into_iter().map(Into::into).collect())).await
    }

    /// Recovery code and receipt of a sign-up, for the person alone; none where there is no such sign-up.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn sign_up_papers(&self, id: i64) -> Result<Option<SignUpPapers>, VigieError> {
        self.run(move |tracer| Ok(tracer.sign_up_papers(SignUpId(id))?.map(Into::into))).await
    }

    /// Takes up a sign-up that was made elsewhere: the server is asked how it stands, and it is kept like one that was made here.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where the code has a typing mistake, or there is no waiting list; `VigieError::Storage`.
    pub async fn recover_sign_up(&self, recovery_code: String) -> Result<i64, VigieError> {
        let code = read_recovery_code(&recovery_code)?;
        self.run(move |tracer| Ok(tracer.recover_sign_up(&code)?.0)).await
    }

    /// Puts another form in the place of the one that was sent; the place stays.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where a field is wrong, or the sign-up is withdrawn or unknown; `VigieError::RetryAfter` while an earlier change is
    /// on its way; `VigieError::Storage`.
    pub async fn correct_sign_up(&self, id: i64, form: SignUpForm) -> Result<(), VigieError> {
        let form = Zeroizing::new(form.into_core());
        self.run(move |tracer| Ok(tracer.correct_sign_up(SignUpId(id), &form)?)).await
    }

    /// Withdraws a sign-up, whatever else is on its way. Withdrawing twice is no error.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where there is no waiting list, or no such sign-up; `VigieError::Storage`.
    pub async fn withdraw_sign_up(&self, id: i64) -> Result<(), VigieError> {
        self.run(move |tracer| Ok(tracer.withdraw_sign_up(SignUpId(id))?)).await
    }

    /// Asks now how a sign-up stands, because a person waits for it; otherwise that is asked once in 4 hours.
    ///
    /// # Errors
    /// As `withdraw_sign_up`.
    pub async fn ask_sign_up(&self, id: i64) -> Result<(), VigieError> {
        self.run(move |tracer| Ok(tracer.ask_sign_up(SignUpId(id))?)).await
    }

    /// Removes a sign-up from this device alone; with its recovery code it can be recovered. `false` where there is no such sign-up.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn forget_sign_up(&self, id: i64) -> Result<bool, VigieError> {
        self.run(move |tracer| Ok(tracer.forget_sign_up(SignUpId(id))?)).await
    }
}
