//! macOS and Windows: btleplug alone, which hears. It cannot send.
//!
//! What a packet said stands in btleplug's own properties of its device, which are asked for after the event that follows them:
//!
//! | system | event | before it |
//! | --- | --- | --- |
//! | macOS | `ServiceDataAdvertisement`, for each packet with service data | strength and service data are set together |
//! | Windows | `DeviceDiscovered` for the first packet, `DeviceUpdated` for each further one | all of the packet is set |
//!
//! btleplug keeps 16 events for whoever is slow and drops the oldest beyond, without a word. So what it drops must not matter: a packet is heard
//! again, and after a silence the adapter is asked whether it is still on.
//!
//! On macOS each link leaves a sleeping thread of btleplug behind; there is one link for each time Bluetooth was switched off.
//!
//! This was type-checked against btleplug 0.13.5 for `aarch64-apple-darwin` and `x86_64-pc-windows-gnu`, and written after its source. It has never
//! run on either system.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use btleplug::api::{Central, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, PeripheralId};
use futures::StreamExt;
use futures::stream::Stream;
use tokio::time::timeout;
use uuid::Uuid;

use super::Options;
use super::hearing::{Heard, Hearing};
use super::shared::Shared;
use super::worker::{Services, Trouble};
use crate::beacon::{Frame, ServiceUuid};
use crate::radio::{MeasuredBy, RadioError, Sighting};
use crate::time::Clock;

/// One step takes no longer, also where somebody has to be asked for the permission.
const STEP: Duration = Duration::from_secs(5);

/// After so long without an event the adapter is asked whether it is on.
const SILENCE: Duration = Duration::from_secs(10);

/// btleplug remembers every device until it is told to forget all: after so many.
const MAX_DISCOVERED: usize = 4_096;

/// The adapter, and what it tells.
struct Ear {
    central: Adapter,
    events: Pin<Box<dyn Stream<Item = CentralEvent> + Send>>,
    is_listening: bool,
    /// Devices since btleplug has last forgotten all.
    discovered: usize,
}

/// One use of the system's adapter, until it breaks.
pub(super) struct Link {
    options: Options,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    hearing: Hearing,
    ear: Option<Ear>,
}

impl Link {
    /// No adapter is touched yet.
    pub(super) async fn connect(
        options: &Options,
        services: Services,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Result<Self, RadioError> {
        let hearing = Hearing::new(&services.heard);
        Ok(Self { options: options.clone(), clock, shared, hearing, ear: None })
    }

    /// Hears until the link breaks, and says why. Can be dropped at any time, and called again.
    pub(super) async fn run(&mut self) -> RadioError {
        loop {
            let heard = match &mut self.ear {
                Some(ear) => ear.next(&mut self.hearing, &*self.clock).await,
                None => std::future::pending().await,
            };
            match heard {
                Ok(Heard::Frame(frame, rssi)) => {
                    self.shared.hear(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at: self.clock.now() });
                }
                Ok(Heard::Nothing | Heard::Unknown(_) | Heard::Connectable(..)) => {}
                Err(problem) => return problem,
            }
        }
    }

    pub(super) async fn listen(&mut self) -> Result<(), Trouble> {
        self.shared.lock().listening.lost = None;
        self.begin().await.map_err(Trouble::Refused)
    }

    pub(super) async fn rest(&mut self) -> Result<(), Trouble> {
        let Some(ear) = &mut self.ear else {
            return Ok(());
        };
        if std::mem::take(&mut ear.is_listening) {
            in_time(ear.central.stop_scan()).await.map_err(Trouble::Broken)?;
        }
        Ok(())
    }

    /// Where it listens, it begins anew: the filter is set at the beginning.
    pub(super) async fn hear_services(&mut self, services: Vec<ServiceUuid>) -> Result<(), Trouble> {
        let is_listening = self.ear.as_ref().is_some_and(|ear| ear.is_listening);
        self.hearing.set_services(&services);
        if !is_listening {
            return Ok(());
        }
        self.rest().await?;
        self.begin().await.map_err(Trouble::Broken)
    }

    /// It never sends.
    pub(super) fn send_under(&mut self, _service: ServiceUuid) {}

    pub(super) async fn advertise(&mut self, _frame: Frame) -> Result<(), Trouble> {
        Err(Trouble::Refused(RadioError::Unsupported { what: "send over Bluetooth" }))
    }

    /// It never sends.
    pub(super) async fn silence(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Ends everything in order.
    pub(super) async fn close(&mut self) {
        // Nobody is left who could do something about it.
        let _ = self.rest().await;
    }

    /// The link is broken: what was begun has ended.
    pub(super) fn give_up(&mut self, problem: &RadioError) {
        if self.ear.take().is_some_and(|ear| ear.is_listening) {
            self.shared.lock().listening.lost = Some(problem.clone());
        }
    }

    async fn begin(&mut self) -> Result<(), RadioError> {
        if self.options.adapter.is_some() {
            // btleplug has one name for all of them here.
            return Err(RadioError::Unsupported { what: "choose among Bluetooth adapters; leave the name out" });
        }
        if self.ear.is_none() {
            self.ear = Some(Ear::first().await?);
        }
        match &mut self.ear {
            Some(ear) if !ear.is_listening => ear.begin(self.hearing.looked_for()).await,
            _ => Ok(()),
        }
    }
}

impl Ear {
    /// The system's first adapter.
    async fn first() -> Result<Self, RadioError> {
        let adapters = in_time(async { Manager::new().await?.adapters().await }).await?;
        let central = adapters.into_iter().next().ok_or(RadioError::NoAdapter)?;
        let events = in_time(central.events()).await?;
        Ok(Self { central, events, is_listening: false, discovered: 0 })
    }

    async fn begin(&mut self, services: &[Uuid]) -> Result<(), RadioError> {
        self.check().await?;
        in_time(self.central.start_scan(ScanFilter { services: services.to_vec() })).await?;
        self.is_listening = true;
        Ok(())
    }

    /// Whether the adapter is on.
    async fn check(&self) -> Result<(), RadioError> {
        match in_time(self.central.adapter_state()).await? {
            CentralState::PoweredOn => Ok(()),
            CentralState::PoweredOff => Err(RadioError::PoweredOff),
            // Not known yet, disabled, or not permitted: btleplug does not tell these apart.
            CentralState::Unknown => Err(failed("it is not ready; look whether this program may use Bluetooth")),
        }
    }

    /// Waits for one event, and says what it means.
    ///
    /// # Errors
    /// Whatever ends listening, and with it the link.
    async fn next(&mut self, hearing: &mut Hearing, clock: &dyn Clock) -> Result<Heard, RadioError> {
        let Ok(event) = timeout(SILENCE, self.events.next()).await else {
            return if self.is_listening { self.check().await.map(|()| Heard::Nothing) } else { Ok(Heard::Nothing) };
        };
        let event = event.ok_or_else(|| failed("it tells nothing any more"))?;
        match event {
            CentralEvent::StateUpdate(CentralState::PoweredOff) if self.is_listening => return Err(RadioError::PoweredOff),
            // That it was off before was not heard; what was begun has ended with it.
            CentralEvent::StateUpdate(_) if self.is_listening => return Err(failed("it was switched on anew")),
            CentralEvent::DeviceDiscovered(_) => self.discovered += 1,
            _ => {}
        }
        let heard = match of_packet(event) {
            Some(id) => self.properties(id, hearing, clock).await,
            None => Heard::Nothing,
        };
        if self.discovered >= MAX_DISCOVERED {
            in_time(self.central.clear_peripherals()).await?;
            self.discovered = 0;
        }
        Ok(heard)
    }

    /// Here btleplug answers from memory.
    async fn properties(&self, id: PeripheralId, hearing: &mut Hearing, clock: &dyn Clock) -> Heard {
        let properties = async { self.central.peripheral(&id).await?.properties().await };
        match properties.await {
            Ok(Some(properties)) => hearing.properties(id, &properties, clock.monotonic()),
            // It was forgotten in the meantime.
            _ => Heard::Nothing,
        }
    }
}

/// Of an event that follows a packet, whose it was.
fn of_packet(event: CentralEvent) -> Option<PeripheralId> {
    match event {
        CentralEvent::DeviceDiscovered(id) | CentralEvent::DeviceUpdated(id) if cfg!(windows) => Some(id),
        CentralEvent::ServiceDataAdvertisement { id, .. } if !cfg!(windows) => Some(id),
        _ => None,
    }
}

/// What takes longer than [`STEP`] is given up. The text of an error of btleplug may name an address, so only its kind is told.
async fn in_time<T>(step: impl Future<Output = btleplug::Result<T>>) -> Result<T, RadioError> {
    let done = timeout(STEP, step).await.map_err(|_| failed("it does not answer"))?;
    done.map_err(|error| match error {
        btleplug::Error::PermissionDenied => RadioError::NotPermitted,
        btleplug::Error::NoAdapterAvailable => RadioError::NoAdapter,
        btleplug::Error::NotSupported(_) => failed("not supported"),
        _ => failed("btleplug could not do it"),
    })
}

fn failed(reason: &str) -> RadioError {
    RadioError::Failed { reason: reason.to_owned() }
}
