//! The central's side of an exchange: connects to a peer that shows our service without a frame, reads its frame, and writes back our own with
//! the strength at which the peer was heard. Layout of both: [`gatt`].

use std::time::Duration;

use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use btleplug::platform::{Peripheral, PeripheralId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Link;
use crate::beacon::gatt::{self, WriteBack};
use crate::beacon::{Frame, Rssi};
use crate::radio::RadioError;
use crate::radio::ble::{PAYLOAD_CHARACTERISTIC, WRITE_BACK_CHARACTERISTIC};

/// To connect, and to learn what the peer serves. An iPhone in the background is heard about once in a second.
const CONNECT: Duration = Duration::from_secs(5);

/// To read, to write.
const REQUEST: Duration = Duration::from_secs(2);

/// To part: where it takes longer, the peer ends the connection, or the range.
const PART: Duration = Duration::from_secs(5);

/// What a peer is told.
#[derive(Debug, Clone)]
struct Own {
    /// What we send; `None` where we do not.
    frame: Option<Frame>,
    /// Under which services it may be one of ours.
    services: Vec<Uuid>,
}

/// An exchange that runs.
pub(super) struct Exchange {
    id: PeripheralId,
    rssi: Rssi,
    /// When listening paused for it.
    started: Instant,
    peripheral: Peripheral,
    task: JoinHandle<Result<Frame, &'static str>>,
}

impl Exchange {
    fn begin(id: PeripheralId, peripheral: Peripheral, rssi: Rssi, own: Own, started: Instant) -> Self {
        let task = tokio::spawn(talk(peripheral.clone(), rssi, own));
        Self { id, rssi, started, peripheral, task }
    }

    /// Waits for its end: what the peer said, if it did. Can be dropped and called again, until it has ended.
    pub(super) async fn ended(&mut self) -> Option<Frame> {
        match (&mut self.task).await {
            Ok(Ok(frame)) => Some(frame),
            Ok(Err(step)) => {
                tracing::debug!(step, "a peer did not do its part of an exchange");
                None
            }
            Err(_) => None,
        }
    }

    /// Parts from the peer; also where it never answered. BlueZ takes 2 s for it, in which the adapter can listen.
    fn part(self) {
        self.task.abort();
        tokio::spawn(async move { step(PART, "part", self.peripheral.disconnect()).await });
    }
}

impl Link {
    /// In what time somebody may be connected to.
    pub(super) fn turn(&mut self) -> Option<Duration> {
        let may_connect = self.exchange.is_none() && self.daemon.hides_address();
        if may_connect { self.turns.wait(self.origin.elapsed()) } else { None }
    }

    /// Gives the next peer its turn, while nothing listens.
    pub(super) async fn begin_exchange(&mut self) -> Result<(), RadioError> {
        let (Some((id, rssi)), Some(ear)) = (self.turns.next(self.origin.elapsed()), &mut self.ear) else {
            return Ok(());
        };
        let started = Instant::now();
        ear.rest().await?;
        if let Some(peripheral) = ear.peripheral(&id).await {
            // Another adapter than that which sends keeps its address when the identifier changes, so it says nothing of us.
            let voice = self.voice.as_ref().filter(|voice| voice.adapter.name() == ear.adapter.name());
            let frame = voice.and_then(|voice| self.initiator.tell(voice.frame));
            let own = Own { frame, services: self.hearing.looked_for().to_vec() };
            self.exchange = Some(Exchange::begin(id, peripheral, rssi, own, started));
        } else {
            self.charge(started);
        }
        Ok(())
    }

    pub(super) fn end_exchange(&mut self, frame: Option<Frame>) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        self.hearing.asked(&exchange.id, frame, self.clock.monotonic());
        if let Some(frame) = frame {
            self.hear(frame, exchange.rssi);
        }
        self.part(exchange);
    }

    /// Ends an exchange before its time. The peer is no worse for it: heard again, it waits for another turn.
    pub(super) fn break_off(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.part(exchange);
        }
    }

    fn part(&mut self, exchange: Exchange) {
        let started = exchange.started;
        exchange.part();
        self.connected = Some(Instant::now());
        self.charge(started);
    }

    /// Since then nothing was heard, for the sake of a connection.
    pub(super) fn charge(&mut self, since: Instant) {
        if self.wants_listening {
            self.turns.charge(since.elapsed());
        }
    }
}

async fn talk(peripheral: Peripheral, rssi: Rssi, own: Own) -> Result<Frame, &'static str> {
    let service = must_be_ours(&peripheral, &own.services).await?;
    step(CONNECT, "connect", peripheral.connect()).await?;
    step(REQUEST, "discover", peripheral.discover_services()).await?;
    let bytes = step(REQUEST, "read", peripheral.read(&find(&peripheral, service, PAYLOAD_CHARACTERISTIC)?)).await?;
    let frame = gatt::decode_payload(&bytes).map_err(|_| "payload")?;
    if let Some(own_frame) = own.frame {
        let characteristic = find(&peripheral, service, WRITE_BACK_CHARACTERISTIC)?;
        let write_back = WriteBack { frame: own_frame, rssi }.encode();
        // We know who it is; that it does not want to know us is its own loss.
        let _ = step(REQUEST, "write", peripheral.write(&characteristic, &write_back, WriteType::WithResponse)).await;
    }
    Ok(frame)
}

/// It may have changed since it was heard, and whoever is connected already belongs to somebody else. Gives the service that it shows.
async fn must_be_ours(peripheral: &Peripheral, services: &[Uuid]) -> Result<Uuid, &'static str> {
    let is_connected = step(REQUEST, "look", peripheral.is_connected()).await?;
    let properties = step(REQUEST, "look", peripheral.properties()).await?.ok_or("look")?;
    let sends_frame = services.iter().any(|service| properties.service_data.contains_key(service));
    let shown = services.iter().copied().find(|service| properties.services.contains(service));
    shown.filter(|_| !sends_frame && !is_connected).ok_or("look")
}

fn find(peripheral: &Peripheral, service: Uuid, uuid: Uuid) -> Result<Characteristic, &'static str> {
    let is_it = |characteristic: &Characteristic| characteristic.service_uuid == service && characteristic.uuid == uuid;
    peripheral.characteristics().into_iter().find(is_it).ok_or("characteristic")
}

async fn step<T>(
    limit: Duration,
    name: &'static str,
    step: impl Future<Output = btleplug::Result<T>>,
) -> Result<T, &'static str> {
    let started = Instant::now();
    let done = timeout(limit, step).await;
    tracing::debug!(step = name, took = ?started.elapsed(), is_done = matches!(done, Ok(Ok(_))), "an exchange");
    match done {
        Ok(Ok(done)) => Ok(done),
        _ => Err(name),
    }
}
