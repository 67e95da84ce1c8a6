//! Sending: one advertisement, under an address of its own.
//!
//! With `Broadcast` the kernel takes a new random address at each registration, so an advertisement is registered once for each identifier, never
//! changed, and never begun again. UUID list and service data are 28 bytes; the kernel's flags fill the 31 of a legacy advertisement, so nothing
//! else may stand in it.

use std::sync::Arc;
use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle, Type};
use bluer::{Adapter, ErrorKind};
use tokio::time::sleep;
use uuid::Uuid;

use super::error::{failed, of_bluer};
use super::server::Server;
use super::{Link, in_time, initiator};
use crate::beacon::Frame;
use crate::radio::ble::Form;
use crate::radio::ble::daemon::Privacy;
use crate::radio::ble::hearing::full_uuid;
use crate::radio::ble::shared::Half;
use crate::radio::ble::worker::Trouble;
use crate::radio::{Limit, RadioError};

/// Between two packets of a phone (Bluetooth Specification v1.2.2, "Advertising interval").
const MIN_INTERVAL: Duration = Duration::from_millis(200);
const MAX_INTERVAL: Duration = Duration::from_millis(270);

/// The kernel's own interval, where bluetoothd passes none on (`le_adv_min_interval`).
const DEFAULT_INTERVAL: Duration = Duration::from_millis(1280);

/// A connection that was given up may go on being made for so long.
const LINGERING: Duration = Duration::from_secs(10);

/// How often is looked whether the old advertisement has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is being sent.
pub(super) struct Voice {
    pub(super) adapter: Adapter,
    /// `None` where bluetoothd never said that it sends.
    handle: Option<AdvertisementHandle>,
    pub(super) frame: Frame,
}

impl Link {
    /// Never new before old, and nothing else on the adapter meanwhile.
    pub(in crate::radio::ble) async fn advertise(&mut self, frame: Frame) -> Result<(), Trouble> {
        let name = self.options.advertise_adapter.clone().or_else(|| self.options.adapter.clone());
        let adapter = self.adapter(name).await.map_err(Trouble::Refused)?;
        self.must_hide(&adapter).await.map_err(Trouble::Refused)?;
        self.break_off();
        if self.ear.as_ref().is_some_and(|ear| ear.adapter.name() == adapter.name()) {
            self.pause().await.map_err(Trouble::Broken)?;
        }
        self.silence().await?;
        self.renew_address(&adapter).await.map_err(Trouble::Broken)?;
        let begun = self.begin_sending(adapter, frame).await;
        if let Err(trouble @ (Trouble::Broken(_) | Trouble::Uncertain(_))) = begun {
            return Err(trouble);
        }
        // What is on the air stays there, whatever becomes of listening.
        if let Err(problem) = self.resume().await {
            self.lose_listening(problem);
        }
        begun
    }

    pub(in crate::radio::ble) async fn silence(&mut self) -> Result<(), Trouble> {
        let Some(Voice { adapter, handle, .. }) = self.voice.take() else {
            return Ok(());
        };
        if let Some(handle) = handle {
            end(&adapter, handle).await?;
        }
        if let Some(server) = &self.server {
            server.change(&adapter, None).await.map_err(Trouble::Broken)?;
        }
        Ok(())
    }

    async fn begin_sending(&mut self, adapter: Adapter, frame: Frame) -> Result<(), Trouble> {
        let service = full_uuid(self.services.sent);
        let advertisement = match self.options.form {
            Form::Frame => advertisement(service, Some(frame)),
            Form::Connectable => {
                self.serve(&adapter, frame).await.map_err(Trouble::Refused)?;
                advertisement(service, None)
            }
        };
        let voice = |handle| Voice { adapter: adapter.clone(), handle, frame };
        let limit = (self.daemon.is_experimental == Some(false)).then_some(Limit::AdvertisingInterval(DEFAULT_INTERVAL));
        self.shared.lock().sending = Half { lost: None, limits: limit.into_iter().collect() };
        match begin(&adapter, advertisement).await {
            Ok(handle) => {
                self.voice = Some(voice(Some(handle)));
                Ok(())
            }
            Err(Trouble::Uncertain(problem)) => {
                self.voice = Some(voice(None));
                Err(Trouble::Uncertain(problem))
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn serve(&mut self, adapter: &Adapter, frame: Frame) -> Result<(), RadioError> {
        let service = full_uuid(self.services.sent);
        let server = match &mut self.server {
            Some(server) => server,
            none => {
                let (clock, shared) = (Arc::clone(&self.clock), Arc::clone(&self.shared));
                none.insert(Server::begin(adapter, service, clock, shared).await?)
            }
        };
        server.change(adapter, Some(frame)).await
    }

    /// Scan requests get a new address, and connections, if the time of the old one is over. The kernel takes it when a scan begins, but not while
    /// something is being sent: so one begins now, when nothing is, also where nobody listens yet.
    async fn renew_address(&mut self, adapter: &Adapter) -> Result<(), RadioError> {
        if !self.hears_with(adapter).await {
            return Ok(());
        }
        // Every 10 s bluetoothd begins its scan anew. Where it was about to when listening paused, the first answer may be about that scan, which
        // began too early; the second one is not.
        for _ in 0..2 {
            let wants_listening = std::mem::replace(&mut self.wants_listening, true);
            let renewed = self.resume().await;
            self.wants_listening = wants_listening;
            renewed?;
            // A legacy adapter takes no address while it scans.
            self.pause().await?;
        }
        // While a connection is being made, the kernel leaves the address as it is; one that was given up may linger.
        let is_connecting = self.connected.is_some_and(|connected| connected.elapsed() < LINGERING);
        let lifetime = if is_connecting { Duration::MAX } else { initiator::lifetime(adapter.name()) };
        self.initiator.may_have_changed(self.origin.elapsed(), lifetime);
        Ok(())
    }

    /// Whether this is the adapter that listens, or would.
    async fn hears_with(&mut self, adapter: &Adapter) -> bool {
        match &self.ear {
            Some(ear) => ear.adapter.name() == adapter.name(),
            None => self.adapter(self.options.adapter.clone()).await.is_ok_and(|hears| hears.name() == adapter.name()),
        }
    }

    /// Refuses what would show the adapter's own address, or two identifiers under one: see the table above.
    async fn must_hide(&self, adapter: &Adapter) -> Result<(), RadioError> {
        let may_have_privacy =
            self.daemon.privacy.is_some_and(|privacy| privacy != Privacy::Off) || self.daemon.needs_restart == Some(true);
        let what = if may_have_privacy && !is_extended(adapter).await {
            "take a new address with each identifier on this adapter while `Privacy` is on in /etc/bluetooth/main.conf"
        } else if self.options.form == Form::Connectable && !self.daemon.hides_address() {
            "let phones connect and hide the adapter's own address; `vigie doctor` names the line to add"
        } else {
            return Ok(());
        };
        Err(RadioError::Unsupported { what })
    }
}

/// What goes on the air.
fn advertisement(service: Uuid, frame: Option<Frame>) -> Advertisement {
    Advertisement {
        advertisement_type: if frame.is_some() { Type::Broadcast } else { Type::Peripheral },
        service_uuids: [service].into(),
        service_data: frame.map(|frame| (service, frame.to_bytes().to_vec())).into_iter().collect(),
        min_interval: Some(MIN_INTERVAL),
        max_interval: Some(MAX_INTERVAL),
        ..Advertisement::default()
    }
}

/// Whether the adapter has extended advertising: then each advertisement has an address of its own, which a connection does not change. Where
/// bluetoothd does not say (the property is an experimental one), it has not.
async fn is_extended(adapter: &Adapter) -> bool {
    matches!(in_time(adapter.supported_advertising_secondary_channels()).await, Ok(Ok(Some(channels))) if !channels.is_empty())
}

/// Begins to send.
async fn begin(adapter: &Adapter, advertisement: Advertisement) -> Result<AdvertisementHandle, Trouble> {
    match in_time(adapter.advertise(advertisement)).await {
        Ok(Ok(handle)) => Ok(handle),
        // Where bluetoothd itself says no, nothing was sent.
        Ok(Err(error)) if !matches!(error.kind, ErrorKind::Internal(_)) => Err(Trouble::Refused(of_bluer(&error))),
        Ok(Err(error)) => Err(Trouble::Uncertain(of_bluer(&error))),
        Err(problem) => Err(Trouble::Uncertain(problem)),
    }
}

/// Ends sending, and waits until bluetoothd says so.
async fn end(adapter: &Adapter, handle: AdvertisementHandle) -> Result<(), Trouble> {
    let ended = async {
        let before = adapter.active_advertising_instances().await?;
        drop(handle);
        while before > 0 && adapter.active_advertising_instances().await? >= before {
            sleep(LOOK).await;
        }
        bluer::Result::Ok(())
    };
    match in_time(ended).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::Broken(of_bluer(&error))),
        Err(_) => Err(Trouble::Broken(failed("it does not stop sending"))),
    }
}
