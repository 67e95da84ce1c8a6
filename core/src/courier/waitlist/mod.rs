//! The waiting list: a form that is sealed once on the device, sent until it is answered, and acknowledged with a signed receipt.
//!
//! ```text
//! Form --check--> JSON, filled up to 1,024 bytes --HPKE--> SealedForm --POST /v1/waitlist--> Receipt: the place, signed
//!
//! recovery code (100 bits) --HKDF--> operation id    names the sign-up; the same for every repeat
//!                          --HKDF--> secret          shows that the sign-up is one's own: status, correction, withdrawal
//! ```
//!
//! What takes the crowd sees sealed bytes of one length and the hash of a secret. Who holds the recovery code can do everything with the sign-up,
//! also on another phone, and nobody else can. Answers are the same whether or not the person was on the list before.
//!
//! Source: RFC 9180 (HPKE), RFC 5869 (HKDF), RFC 8032 (Ed25519), RFC 9162 (Merkle trees).

mod answers;
mod asking;
mod changing;
mod form;
mod kept;
mod receipt;
mod recovery;
mod sealed;
mod sending;
mod sign_up;
mod wire;

pub use changing::forget_sign_up;
pub use form::{Contact, Field, Form, FormError, FormRules, Language, NumberFormat, Presence};
pub(in crate::courier) use kept::Change;
pub use receipt::{Receipt, ReceiptError, ReceiptKey, ReceiptSigner};
pub use recovery::{RecoveryCode, RecoveryCodeError};
pub use sealed::{OpeningKey, SEALED_LEN, SealError, SealedForm, SealingKey};
pub(crate) use sending::renew_sign_ups;
pub use sign_up::{
    SignUpChange, SignUpError, SignUpId, SignUpPapers, SignUpRefusal, SignUpState, SignUpStatus, sign_up_papers, sign_ups,
};
pub use wire::{
    CORRECT_PATH, CorrectRequest, ErrorCode, ErrorResponse, MAX_WAITLIST_ANSWER, MAX_WAITLIST_BODY, OperationId, SIGN_UP_PATH,
    STATUS_PATH, Secret, SecretHash, SignUpRequest, SignUpResponse, State, StatusRequest, StatusResponse, WITHDRAW_PATH,
};
