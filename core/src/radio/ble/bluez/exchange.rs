//! The central's side of an exchange: connects to a peer that shows our service without a frame, reads its frame, and writes back our own with
//! the strength at which the peer was heard. Layout of both: [`gatt`].

use std::time::Duration;

use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use btleplug::platform::{Peripheral, PeripheralId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::beacon::gatt::{self, WriteBack};
use crate::beacon::{Frame, Rssi};
use crate::radio::ble::{PAYLOAD_CHARACTERISTIC, WRITE_BACK_CHARACTERISTIC};

/// To connect, and to learn what the peer serves. An iPhone in the background is heard about once in a second.
const CONNECT: Duration = Duration::from_secs(5);

/// To read, to write.
const REQUEST: Duration = Duration::from_secs(2);

/// To part: where it takes longer, the peer ends the connection, or the range.
const PART: Duration = Duration::from_secs(5);

/// What a peer is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// What we send; `None` where we do not.
    pub(super) frame: Option<Frame>,
    /// Under which service.
    pub(super) service: Uuid,
}

/// An exchange that runs.
pub(super) struct Exchange {
    pub(super) id: PeripheralId,
    pub(super) rssi: Rssi,
    pub(super) started: Instant,
    peripheral: Peripheral,
    task: JoinHandle<Result<Frame, &'static str>>,
}

impl Exchange {
    pub(super) fn begin(id: PeripheralId, peripheral: Peripheral, rssi: Rssi, own: Own) -> Self {
        let task = tokio::spawn(talk(peripheral.clone(), rssi, own));
        Self { id, rssi, started: Instant::now(), peripheral, task }
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
    pub(super) fn part(self) {
        self.task.abort();
        tokio::spawn(async move { step(PART, "part", self.peripheral.disconnect()).await });
    }
}

async fn talk(peripheral: Peripheral, rssi: Rssi, own: Own) -> Result<Frame, &'static str> {
    must_be_ours(&peripheral, own.service).await?;
    step(CONNECT, "connect", peripheral.connect()).await?;
    step(REQUEST, "discover", peripheral.discover_services()).await?;
    let bytes = step(REQUEST, "read", peripheral.read(&find(&peripheral, own.service, PAYLOAD_CHARACTERISTIC)?)).await?;
    let frame = gatt::decode_payload(&bytes).map_err(|_| "payload")?;
    if let Some(own_frame) = own.frame {
        let characteristic = find(&peripheral, own.service, WRITE_BACK_CHARACTERISTIC)?;
        let write_back = WriteBack { frame: own_frame, rssi }.encode();
        // We know who it is; that it does not want to know us is its own loss.
        let _ = step(REQUEST, "write", peripheral.write(&characteristic, &write_back, WriteType::WithResponse)).await;
    }
    Ok(frame)
}

/// It may have changed since it was heard, and whoever is connected already belongs to somebody else.
async fn must_be_ours(peripheral: &Peripheral, service: Uuid) -> Result<(), &'static str> {
    let is_connected = step(REQUEST, "look", peripheral.is_connected()).await?;
    let properties = step(REQUEST, "look", peripheral.properties()).await?.ok_or("look")?;
    let shows_service = properties.services.contains(&service) && !properties.service_data.contains_key(&service);
    if shows_service && !is_connected { Ok(()) } else { Err("look") }
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
