//! The peripheral's side of an exchange: serves the frame to whoever connects, and takes what is written back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bluer::gatt::local::{
    Application, ApplicationHandle, Characteristic, CharacteristicRead, CharacteristicWrite, CharacteristicWriteMethod, ReqError,
    Service,
};
use bluer::{Adapter, Address};
use futures::FutureExt;
use uuid::Uuid;

use super::error::of_bluer;
use super::in_time;
use crate::beacon::gatt::{LongWrite, WriteBack, encode_payload};
use crate::beacon::{BeaconError, Frame};
use crate::radio::ble::shared::Shared;
use crate::radio::ble::{PAYLOAD_CHARACTERISTIC, WRITE_BACK_CHARACTERISTIC};
use crate::radio::{MeasuredBy, RadioError, Sighting};
use crate::time::Clock;

/// Centrals that are served during one identifier, at most: more than there are phones in a room.
const MAX_CENTRALS: usize = 256;

/// Writes that one of them may do meanwhile: parts of one, and a repetition.
const MAX_WRITES: u32 = 8;

/// A GATT service, as long as it lives.
pub(super) struct Server {
    state: Arc<Mutex<State>>,
    _application: ApplicationHandle,
}

#[derive(Debug, Default)]
struct State {
    /// What is served; `None` while it changes.
    frame: Option<Frame>,
    centrals: HashMap<Address, Central>,
    /// Who was connected when the frame changed, and knows us by the address of the one before.
    stale: HashSet<Address>,
}

#[derive(Debug, Default)]
struct Central {
    write: LongWrite,
    writes: u32,
}

impl Server {
    pub(super) async fn begin(
        adapter: &Adapter,
        service: Uuid,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Result<Self, RadioError> {
        let state = Arc::<Mutex<State>>::default();
        let readable =
            Characteristic { uuid: PAYLOAD_CHARACTERISTIC, read: Some(read(Arc::clone(&state))), ..Characteristic::default() };
        let writable = Characteristic {
            uuid: WRITE_BACK_CHARACTERISTIC,
            write: Some(write(Arc::clone(&state), clock, shared)),
            ..Characteristic::default()
        };
        let service = Service { uuid: service, primary: true, characteristics: vec![readable, writable], ..Service::default() };
        let application = Application { services: vec![service], ..Application::default() };
        let application = in_time(adapter.serve_gatt_application(application)).await?.map_err(|error| of_bluer(&error))?;
        Ok(Self { state, _application: application })
    }

    /// Serves another frame, or none. Who is connected now is told nothing more: under one address there is one identifier.
    pub(super) async fn change(&self, adapter: &Adapter, frame: Option<Frame>) -> Result<(), RadioError> {
        *lock(&self.state) = State::default();
        let stale = in_time(connected(adapter)).await?.map_err(|error| of_bluer(&error))?;
        let mut state = lock(&self.state);
        (state.frame, state.stale) = (frame, stale);
        Ok(())
    }
}

async fn connected(adapter: &Adapter) -> bluer::Result<HashSet<Address>> {
    let mut connected = HashSet::new();
    for address in adapter.device_addresses().await? {
        // It may have gone meanwhile.
        if adapter.device(address)?.is_connected().await.unwrap_or(false) {
            connected.insert(address);
        }
    }
    Ok(connected)
}

fn read(state: Arc<Mutex<State>>) -> CharacteristicRead {
    let fun = move |address: Address, offset: u16| {
        let mut state = lock(&state);
        let frame = state.frame.ok_or(ReqError::NotPermitted)?;
        state.central(address)?;
        encode_payload(frame).get(usize::from(offset)..).map(<[u8]>::to_vec).ok_or(ReqError::InvalidOffset)
    };
    let fun = Arc::new(fun);
    CharacteristicRead {
        read: true,
        fun: Box::new(move |request| {
            let fun = Arc::clone(&fun);
            async move { fun(request.device_address, request.offset) }.boxed()
        }),
        ..CharacteristicRead::default()
    }
}

fn write(state: Arc<Mutex<State>>, clock: Arc<dyn Clock>, shared: Arc<Shared>) -> CharacteristicWrite {
    let fun = Arc::new(move |address: Address, offset: u16, part: &[u8]| {
        let Some(WriteBack { frame, rssi }) = lock(&state).write(address, offset, part)? else {
            return Ok(());
        };
        shared.hear(Sighting { frame, rssi, measured_by: MeasuredBy::Peer, at: clock.now() });
        Ok(())
    });
    CharacteristicWrite {
        write: true,
        method: CharacteristicWriteMethod::Fun(Box::new(move |part, request| {
            let fun = Arc::clone(&fun);
            async move { fun(request.device_address, request.offset, &part) }.boxed()
        })),
        ..CharacteristicWrite::default()
    }
}

impl State {
    fn central(&mut self, address: Address) -> Result<&mut Central, ReqError> {
        let is_known = self.centrals.contains_key(&address);
        if self.stale.contains(&address) || (self.centrals.len() >= MAX_CENTRALS && !is_known) {
            return Err(ReqError::NotPermitted);
        }
        Ok(self.centrals.entry(address).or_default())
    }

    /// Takes a part of a write-back; gives the whole when it is complete.
    fn write(&mut self, address: Address, offset: u16, part: &[u8]) -> Result<Option<WriteBack>, ReqError> {
        let central = self.central(address)?;
        if central.writes >= MAX_WRITES {
            return Err(ReqError::NotPermitted);
        }
        central.writes += 1;
        central.write.write(usize::from(offset), part).map_err(|_| ReqError::InvalidOffset)?;
        if !central.write.is_complete() {
            return if part.is_empty() { Err(ReqError::InvalidValueLength) } else { Ok(None) };
        }
        match central.write.finish() {
            Ok(write_back) => Ok(Some(write_back)),
            Err(BeaconError::PayloadLength { .. }) => Err(ReqError::InvalidValueLength),
            Err(_) => Err(ReqError::NotSupported),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
