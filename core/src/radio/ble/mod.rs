//! Bluetooth adapters of a computer: hears and connects through btleplug, sends through BlueZ.
//!
//! One thread, the worker, owns everything that talks to the system; the two halves of the radio send it commands and wait for its answer.
//!
//! ```text
//! tracer -> Scanner, Advertiser -> worker -> Link: one connection to the system's Bluetooth, until it breaks
//!                 ^                  |
//!                 +---- shared <-----+  what was heard, what has ended
//! ```
//!
//! Whatever breaks (service restarted, adapter unplugged or switched off, message bus gone) breaks the whole link, with a reason. What was begun
//! has then ended, and whoever drives the radio begins it again: with that a new link is made. Nothing is repaired in place.
//!
//! | system | hears | sends | connects and is connected to |
//! | --- | --- | --- | --- |
//! | Linux | btleplug and bluer | bluer | btleplug and bluer, with `Privacy = device` |
//! | macOS, Windows | btleplug | no | no |

#[cfg(target_os = "linux")]
mod bluez;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "where nobody is connected to, properties alone are looked at"))]
mod hearing;
#[cfg(not(target_os = "linux"))]
mod listener;
mod shared;
#[cfg(target_os = "linux")]
mod turns;
mod worker;

#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod survey;

#[cfg(target_os = "linux")]
pub use daemon::{Daemon, Privacy};
#[cfg(target_os = "linux")]
pub use survey::{Access, Adapter, Advertising, Block, Survey, survey};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::{Advertiser, Limit, Radio, RadioError, Scanner, Sighting};
use crate::beacon::{Frame, ServiceUuid};
use crate::time::Clock;
use shared::Shared;
use worker::{Answer, Command};

/// How a device says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The frame stands in the advertisement, as service data.
    #[default]
    Frame,
    /// The advertisement shows the service alone, and the frame is read over a connection: for systems that cannot send service data.
    Connectable,
}

/// Read by a central: version and frame ([`gatt::encode_payload`](crate::beacon::gatt::encode_payload)). The UUIDs are random ones.
pub const PAYLOAD_CHARACTERISTIC: Uuid = Uuid::from_u128(0xF26F_E877_2AD9_4E24_8F90_E760_22FA_ABBB);

/// Written by a central: version, its own frame, and how strongly it heard ([`gatt::WriteBack`](crate::beacon::gatt::WriteBack)).
pub const WRITE_BACK_CHARACTERISTIC: Uuid = Uuid::from_u128(0x7750_5958_11F1_4156_8608_84C5_7F9B_B54A);

/// Which adapters, and what they send.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The adapter that hears, such as `hci0`; `None` is the system's first.
    pub adapter: Option<String>,
    /// Another one that sends; `None` is the one that hears.
    pub advertise_adapter: Option<String>,
    /// Under which service, until another one is said ([`Advertiser::set_service`], [`Scanner::set_services`]).
    pub service: ServiceUuid,
    /// In which form.
    pub form: Form,
}

/// The radio on these adapters. Needs none of them to be there: what is missing is said when it is used, and found when it comes.
///
/// `clock` stamps what is heard.
///
/// # Errors
/// [`RadioError::Failed`] where the system gives no thread.
pub fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Radio, RadioError> {
    let shared = Arc::new(Shared::default());
    let worker = Worker { commands: worker::spawn(options, clock, Arc::clone(&shared))?, shared };
    let advertiser = cfg!(target_os = "linux").then(|| Box::new(BleAdvertiser(worker.clone())) as Box<dyn Advertiser>);
    Ok(Radio { scanner: Some(Box::new(BleScanner(worker))), advertiser })
}

/// The worker, as its two halves know it. It ends with the last of them.
#[derive(Debug, Clone)]
struct Worker {
    commands: UnboundedSender<Command>,
    shared: Arc<Shared>,
}

/// The worker limits each of its steps; together they stay below this.
const LONGEST_COMMAND: Duration = Duration::from_secs(30);

impl Worker {
    fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<(), RadioError> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let gone = |_| RadioError::Failed { reason: "its thread has ended".into() };
        self.commands.send(command(answer)).map_err(|_| gone(()))?;
        answered.recv_timeout(LONGEST_COMMAND).map_err(|_| gone(()))?
    }
}

/// The half that hears.
struct BleScanner(Worker);

impl Scanner for BleScanner {
    fn start(&mut self) -> Result<(), RadioError> {
        self.0.ask(Command::Listen)
    }

    fn stop(&mut self) {
        // Where the worker has ended, nothing listens.
        let _ = self.0.ask(Command::Rest);
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let mut shared = self.0.shared.lock();
        shared.take(heard);
        shared.listening.lost.take().map_or(Ok(()), Err)
    }

    fn set_services(&mut self, services: &[ServiceUuid]) {
        // Where it does not succeed, the link is broken, and the next one hears them.
        let _ = self.0.ask(|answer| Command::Hear(services.to_vec(), answer));
    }

    fn limits(&self) -> Vec<Limit> {
        self.0.shared.lock().listening.limits.clone()
    }
}

impl Drop for BleScanner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The half that sends.
struct BleAdvertiser(Worker);

impl Advertiser for BleAdvertiser {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        self.0.ask(|answer| Command::Advertise(frame, answer))
    }

    fn check(&mut self) -> Result<(), RadioError> {
        self.0.shared.lock().sending.lost.take().map_or(Ok(()), Err)
    }

    fn set_service(&mut self, service: ServiceUuid) {
        // It changes nothing that could fail before the next frame.
        let _ = self.0.ask(|answer| Command::SendUnder(service, answer));
    }

    fn stop(&mut self) {
        // Where the worker has ended, nothing is sent.
        let _ = self.0.ask(Command::Silence);
    }

    fn limits(&self) -> Vec<Limit> {
        self.0.shared.lock().sending.limits.clone()
    }
}

impl Drop for BleAdvertiser {
    fn drop(&mut self) {
        self.stop();
    }
}
