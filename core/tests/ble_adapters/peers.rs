//! Peers that are not Vigie: whoever may send and write something else.

use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle, Type};
use bluer::gatt::{WriteOp, remote};
use bluer::{Adapter, DiscoveryFilter, DiscoveryTransport, Session};
use futures::StreamExt;
use tokio::runtime::Runtime;
use uuid::Uuid;
use vigie::beacon::ServiceUuid;
use vigie::radio::ble::WRITE_BACK_CHARACTERISTIC;

/// Our service, in full.
pub(crate) fn service() -> Uuid {
    Uuid::from_u128(0x0000_0000_0000_1000_8000_0080_5F9B_34FB | u128::from(ServiceUuid::default().0) << 96)
}

/// What somebody sends.
pub(crate) fn advertisement(advertisement_type: Type, data: Option<Vec<u8>>) -> Advertisement {
    let interval = Some(Duration::from_millis(250));
    Advertisement {
        advertisement_type,
        service_uuids: [service()].into(),
        service_data: data.map(|data| (service(), data)).into_iter().collect(),
        min_interval: interval,
        max_interval: interval,
        ..Advertisement::default()
    }
}

/// A peer on an adapter, as long as it lives.
pub(crate) struct Peer {
    runtime: Runtime,
    adapter: Adapter,
    _session: Session,
    shown: Option<AdvertisementHandle>,
}

impl Peer {
    pub(crate) fn on(name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (session, adapter) = runtime.block_on(async {
            let session = Session::new().await.unwrap();
            let adapter = session.adapter(name).unwrap();
            (session, adapter)
        });
        Self { runtime, adapter, _session: session, shown: None }
    }

    /// Sends service data of our service, whatever it is.
    pub(crate) fn shout(&mut self, data: &[u8]) {
        self.shown = None;
        std::thread::sleep(Duration::from_millis(200));
        let advertisement = advertisement(Type::Broadcast, Some(data.to_vec()));
        self.shown = Some(self.runtime.block_on(self.adapter.advertise(advertisement)).unwrap());
    }

    /// Connects to the one device around that shows our service, writes, and says for each write whether it was taken.
    pub(crate) fn write(&self, writes: &[Vec<u8>]) -> Vec<bool> {
        let all = async {
            let device = loop {
                let device = self.find().await;
                // It may have changed its address since.
                if tokio::time::timeout(Duration::from_secs(8), device.connect()).await.is_ok_and(|connected| connected.is_ok()) {
                    break device;
                }
                let _ = device.disconnect().await;
            };
            let characteristic = write_back(&device).await;
            let request = remote::CharacteristicWriteRequest { op_type: WriteOp::Request, ..Default::default() };
            let mut taken = Vec::new();
            for bytes in writes {
                taken.push(characteristic.write_ext(bytes, &request).await.is_ok());
            }
            device.disconnect().await.unwrap();
            taken
        };
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(90), all).await.unwrap() })
    }
}

impl Peer {
    /// A device in range that shows our service.
    async fn find(&self) -> bluer::Device {
        let filter = DiscoveryFilter { transport: DiscoveryTransport::Le, ..DiscoveryFilter::default() };
        self.adapter.set_discovery_filter(filter).await.unwrap();
        let mut found = Box::pin(self.adapter.discover_devices_with_changes().await.unwrap());
        while let Some(event) = found.next().await {
            let bluer::AdapterEvent::DeviceAdded(address) = event else { continue };
            let device = self.adapter.device(address).unwrap();
            let shows_service = device.uuids().await.ok().flatten().is_some_and(|uuids| uuids.contains(&service()));
            if shows_service && device.rssi().await.ok().flatten().is_some() {
                return device;
            }
        }
        panic!("the scan ended");
    }
}

async fn write_back(device: &bluer::Device) -> remote::Characteristic {
    for service in device.services().await.unwrap() {
        for characteristic in service.characteristics().await.unwrap() {
            if characteristic.uuid().await.unwrap() == WRITE_BACK_CHARACTERISTIC {
                return characteristic;
            }
        }
    }
    panic!("it serves no characteristic to write to")
}
