//! Vigie for Kotlin, Swift and Python, through uniffi. The only place that knows uniffi; no rule is here.
//!
//! ```text
//! app -> Tracer (this crate) -> vigie::tracer::Tracer -> radio.rs, transport.rs, vault.rs, clock.rs -> Radio, Transport, KeyVault, Clock of the app
//! ```
//!
//! **Threads.** Every method can be called from any thread. Those that wait for a disk are asynchronous and run on threads of the library; what the app
//! implements is called on these threads, never on the one that called the library, and may block for as long as its documentation says.
//!
//! **Lifetimes.** A [`Tracer`] that is [shut down](Tracer::shut_down), or dropped, has silenced the radio, ended its threads and let go of what the app
//! gave it. [`live_objects`] counts what is still held.
//!
//! **Cancellation.** A call that may last takes a [`Cancel`]. What was kept before stays kept: a report that is cancelled while it is being made was either
//! made, and is sent, or was not.
//!
//! **Failures.** Errors are a [`VigieError`]. A panic in a call arrives as the exception of each language for errors that cannot be; a panic in the
//! background is an [`Event::Restarted`].

uniffi::setup_scaffolding!("vigie_ffi");

mod bulletin;
mod cancel;
mod check;
mod clock;
mod config;
mod error;
mod event;
mod live;
mod private;
mod radio;
mod report;
mod status;
mod tracer;
mod transport;
mod vault;
mod vectors;
mod waitlist;

pub use bulletin::{Advice, Bulletin, Figure, FigureValue};
pub use cancel::Cancel;
pub use check::{Alert, CheckReport, FileReport, FileStatus, Risk, RiskDay, RiskLevel};
pub use clock::{Clock, ClockReadings, ManualClock};
pub use config::{Calibration, CalibrationConfidence, Config, Scanning};
pub use error::{Input, Permission, StorageProblem, VigieError};
pub use event::{Event, Task};
pub use live::live_objects;
pub use radio::{Advertisement, Radio, RadioError, RadioProblem, RadioSink, ScanResult};
pub use report::{KeyListStatus, Network, Report, ReportDetails, ReportRefusal, ReportState, SyncReport};
pub use status::{Status, Tracing};
pub use tracer::Tracer;
pub use transport::{HttpHeader, HttpRequest, HttpResponse, Transport, TransportError, TransportProblem};
pub use vault::{KeyVault, VaultError, VaultProblem};
pub use vectors::{associated_encrypted_metadata, rolling_proximity_identifier};
pub use waitlist::{
    Field, Language, SignUp, SignUpChange, SignUpForm, SignUpPapers, SignUpRefusal, SignUpState, group_recovery_code,
    new_recovery_code,
};
