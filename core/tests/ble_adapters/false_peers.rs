//! Peers that stall: they show our service as phones do that cannot send service data, and do not do their part of an exchange.
//!
//! They answer on the ATT channel themselves, because bluetoothd 5.66 cannot: where a central leaves while an application owes it the answer to
//! ReadValue or WriteValue, bluetoothd gives up waiting 5 s after the request (`ATTRIBUTE_TIMEOUT`), and then uses the connection that it has
//! freed. The kernel gives a connection to the socket that began to listen last, so to ours.
//!
//! What they serve, where they do: one service with two characteristics. Source: Core Specification v5.4, vol 3, part F, 3.4 (requests and
//! answers) and part G, 3 (what stands in a service).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle, Type};
use bluer::l2cap::{SeqPacket, SeqPacketListener, SocketAddr};
use bluer::{AddressType, Session};
use tokio::runtime::Runtime;
use uuid::Uuid;
use vigie::beacon::ServiceUuid;
use vigie::radio::ble::{PAYLOAD_CHARACTERISTIC, WRITE_BACK_CHARACTERISTIC};

use crate::peers::service;

/// As often as an iPhone in the background.
const INTERVAL: Duration = Duration::from_secs(1);

const ATT_CHANNEL: u16 = 4;
const MTU: u16 = 517;

const ERROR: u8 = 0x01;
const EXCHANGE_MTU: u8 = 0x02;
const READ_BY_TYPE: u8 = 0x08;
const READ: u8 = 0x0A;
const READ_BY_GROUP_TYPE: u8 = 0x10;
const WRITE: u8 = 0x12;
const PREPARE_WRITE: u8 = 0x16;
const ATTRIBUTE_NOT_FOUND: u8 = 0x0A;

const PRIMARY_SERVICE: [u8; 2] = 0x2800_u16.to_le_bytes();
const CHARACTERISTIC: [u8; 2] = 0x2803_u16.to_le_bytes();
const MAY_BE_READ: u8 = 0x02;
const MAY_BE_WRITTEN: u8 = 0x08;

/// Where a false peer stops to do its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// It does not take connections.
    Connect,
    /// It does not say what it serves; to BlueZ that is a part of connecting.
    Discover,
    /// It serves nothing of ours.
    Service,
    Read,
    Write,
}

impl Stall {
    pub(crate) const ALL: [Self; 5] = [Self::Write, Self::Read, Self::Service, Self::Discover, Self::Connect];

    /// Whether a request of this kind is the one that it lets down.
    fn is_at(self, request: u8) -> bool {
        match self {
            Self::Connect | Self::Discover => true,
            Self::Service => request == READ_BY_GROUP_TYPE,
            Self::Read => request == READ,
            Self::Write => matches!(request, WRITE | PREPARE_WRITE),
        }
    }
}

/// False peers, as long as they live.
pub(crate) struct FalsePeers {
    runtime: Runtime,
    session: Session,
    peers: Vec<FalsePeer>,
}

struct FalsePeer {
    stall: Stall,
    has_stalled: Arc<AtomicBool>,
    _shown: AdvertisementHandle,
}

impl FalsePeers {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let session = runtime.block_on(Session::new()).unwrap();
        Self { runtime, session, peers: Vec::new() }
    }

    /// One more, on an adapter of its own.
    pub(crate) fn add(&mut self, adapter: &str, stall: Stall) {
        let has_stalled = Arc::<AtomicBool>::default();
        let shown = self.runtime.block_on(async {
            let adapter = self.session.adapter(adapter).unwrap();
            if stall != Stall::Connect {
                let address = adapter.address().await.unwrap();
                let channel = SocketAddr { cid: ATT_CHANNEL, ..SocketAddr::new(address, AddressType::LePublic, 0) };
                let listener = SeqPacketListener::bind(channel).await.unwrap();
                tokio::spawn(serve(listener, stall, Arc::clone(&has_stalled)));
            }
            let shown = adapter.advertise(Advertisement {
                // Nobody can connect to a broadcast.
                advertisement_type: if stall == Stall::Connect { Type::Broadcast } else { Type::Peripheral },
                service_uuids: [service()].into(),
                min_interval: Some(INTERVAL),
                max_interval: Some(INTERVAL),
                ..Advertisement::default()
            });
            shown.await.unwrap()
        });
        self.peers.push(FalsePeer { stall, has_stalled, _shown: shown });
    }

    /// Whether somebody was let down by one of this kind. One that takes no connections does not know.
    pub(crate) fn has_stalled(&self, stall: Stall) -> bool {
        self.peers.iter().any(|peer| peer.stall == stall && peer.has_stalled.load(Ordering::Acquire))
    }
}

async fn serve(listener: SeqPacketListener, stall: Stall, has_stalled: Arc<AtomicBool>) {
    loop {
        let (central, _) = listener.accept().await.unwrap();
        tokio::spawn(talk(central, stall, Arc::clone(&has_stalled)));
    }
}

/// Answers until the central leaves.
async fn talk(central: SeqPacket, stall: Stall, has_stalled: Arc<AtomicBool>) {
    let mut request = [0; MTU as usize];
    while let Ok(length @ 1..) = central.recv(&mut request).await {
        let request = &request[..length];
        if stall.is_at(request[0]) {
            has_stalled.store(true, Ordering::Release);
            if stall != Stall::Service {
                continue;
            }
        }
        let _ = central.send(&answer(stall, request)).await;
    }
}

/// ```text
/// handle 1: the service, to handle 5   2: what is read, its value in 3   4: what is written, its value in 5
/// ```
fn answer(stall: Stall, request: &[u8]) -> Vec<u8> {
    let begins_at_first = request.get(1..3) == Some(&[1, 0]);
    let asks_for = |kind: [u8; 2]| begins_at_first && request.get(5..) == Some(&kind);
    match request[0] {
        EXCHANGE_MTU => [&[EXCHANGE_MTU + 1], MTU.to_le_bytes().as_slice()].concat(),
        READ => [&[READ + 1, 1], [7; 20].as_slice()].concat(),
        READ_BY_GROUP_TYPE if asks_for(PRIMARY_SERVICE) && stall != Stall::Service => {
            [&[READ_BY_GROUP_TYPE + 1, 6, 1, 0, 5, 0], ServiceUuid::default().0.to_le_bytes().as_slice()].concat()
        }
        READ_BY_TYPE if asks_for(CHARACTERISTIC) => {
            let characteristic = |handle: u8, properties: u8, uuid: Uuid| {
                [&[handle, 0, properties, handle + 1, 0], uuid.as_u128().to_le_bytes().as_slice()].concat()
            };
            let read = characteristic(2, MAY_BE_READ, PAYLOAD_CHARACTERISTIC);
            let written = characteristic(4, MAY_BE_WRITTEN, WRITE_BACK_CHARACTERISTIC);
            [&[READ_BY_TYPE + 1, 21], read.as_slice(), &written].concat()
        }
        other => [&[ERROR, other], request.get(1..3).unwrap_or(&[0, 0]), &[ATTRIBUTE_NOT_FOUND]].concat(),
    }
}
