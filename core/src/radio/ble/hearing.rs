//! From events of btleplug to sightings: which strength belongs to which frame, and who has to be asked for more.
//!
//! A state machine without I/O. BlueZ tells strength and service data of one packet one after the other, in this order, and tells the strength
//! only where it has changed. The first packet of a device is told without either: then [`Heard::Unknown`] asks for its properties.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Duration;

use btleplug::api::{CentralEvent, PeripheralProperties};
use btleplug::platform::PeripheralId;
use lru::LruCache;
use uuid::Uuid;

use crate::beacon::{Frame, Rssi, ServiceUuid};

/// Devices that are remembered; beyond it those go that were silent for longest. More than 500 phones in a room, at 0.2 KB each.
const MAX_DEVICES: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");

/// A device whose frame was read over a connection is recognised by its address for so long: an identifier lives for 10 minutes at least.
pub(super) const EXCHANGE_PERIOD: Duration = Duration::from_secs(600);

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<Id = PeripheralId> {
    /// Nothing of ours.
    Nothing,
    /// A packet with a frame.
    Frame(Frame, Rssi),
    /// Somebody whose properties have to be asked for.
    Unknown(Id),
    /// A device that shows our service and no frame: it may be connected to.
    Connectable(Id, Rssi),
}

/// What is known of the devices around. Tests have names of their own for them, because btleplug lets nobody else make its.
#[derive(Debug)]
pub(super) struct Hearing<Id: Hash + Eq = PeripheralId> {
    /// Those that are looked for; frames of all of them are alike.
    services: Vec<Uuid>,
    devices: LruCache<Id, Device>,
}

#[derive(Debug, Default)]
struct Device {
    rssi: Option<Rssi>,
    kind: Kind,
}

#[derive(Debug, Default, Clone, Copy)]
enum Kind {
    /// Nothing of ours was heard of it.
    #[default]
    Foreign,
    /// It sends frames.
    Sender,
    /// It shows our service alone.
    Connectable,
    /// So it does, and it was connected to: what it said, if it did, counts until then (on the monotonic clock).
    Asked { frame: Option<Frame>, until: Duration },
}

impl Hearing {
    /// What an event of the adapter says.
    pub(super) fn event(&mut self, event: CentralEvent, monotonic: Duration) -> Heard {
        match event {
            CentralEvent::DeviceDiscovered(id) => Heard::Unknown(id),
            CentralEvent::RssiUpdate { id, rssi } => self.strength(id, rssi, monotonic),
            CentralEvent::ServiceDataAdvertisement { id, service_data } => self.service_data(id, &service_data),
            CentralEvent::ServicesAdvertisement { id, services } => self.services(id, &services),
            _ => Heard::Nothing,
        }
    }
}

impl<Id: Hash + Eq + Clone> Hearing<Id> {
    pub(super) fn new(services: &[ServiceUuid]) -> Self {
        Self { services: services.iter().copied().map(full_uuid).collect(), devices: LruCache::new(MAX_DEVICES) }
    }

    /// Looks for others from now on. What is known of the devices stays.
    pub(super) fn set_services(&mut self, services: &[ServiceUuid]) {
        self.services = services.iter().copied().map(full_uuid).collect();
    }

    /// What the properties of a device say that [`Heard::Unknown`] asked for.
    pub(super) fn properties(&mut self, id: Id, properties: &PeripheralProperties, monotonic: Duration) -> Heard<Id> {
        // A device that is remembered and not in range has no strength.
        let Some(rssi) = properties.rssi.and_then(rssi) else {
            return Heard::Nothing;
        };
        let device = self.devices.get_or_insert_mut(id.clone(), Device::default);
        device.rssi = Some(rssi);
        if let Some(data) = frame_data(&self.services, &properties.service_data) {
            return device.frame(data);
        }
        if !properties.services.iter().any(|service| self.services.contains(service)) {
            return Heard::Nothing;
        }
        if matches!(device.kind, Kind::Foreign) {
            device.kind = Kind::Connectable;
        }
        device.shown(id, rssi, monotonic)
    }

    /// Notes that a device was connected to, and what it said. It is not connected to again for [`EXCHANGE_PERIOD`].
    pub(super) fn asked(&mut self, id: &Id, frame: Option<Frame>, monotonic: Duration) {
        if let Some(device) = self.devices.get_mut(id) {
            device.kind = Kind::Asked { frame, until: monotonic + EXCHANGE_PERIOD };
        }
    }

    /// The services that are looked for.
    pub(super) fn looked_for(&self) -> &[Uuid] {
        &self.services
    }

    /// A scan response may bring it later than the advertisement.
    fn services(&mut self, id: Id, services: &[Uuid]) -> Heard<Id> {
        let is_foreign = self.devices.peek(&id).is_none_or(|device| matches!(device.kind, Kind::Foreign));
        let is_ours = services.iter().any(|service| self.services.contains(service));
        if is_foreign && is_ours { Heard::Unknown(id) } else { Heard::Nothing }
    }

    fn strength(&mut self, id: Id, dbm: i16, monotonic: Duration) -> Heard<Id> {
        let Some(rssi) = rssi(dbm) else {
            return Heard::Nothing;
        };
        let is_new = !self.devices.contains(&id);
        let device = self.devices.get_or_insert_mut(id.clone(), Device::default);
        device.rssi = Some(rssi);
        if is_new { Heard::Unknown(id) } else { device.shown(id, rssi, monotonic) }
    }

    fn service_data(&mut self, id: Id, service_data: &HashMap<Uuid, Vec<u8>>) -> Heard<Id> {
        let Some(data) = frame_data(&self.services, service_data) else {
            return Heard::Nothing;
        };
        let device = self.devices.get_or_insert_mut(id.clone(), Device::default);
        if device.rssi.is_none() { Heard::Unknown(id) } else { device.frame(data) }
    }
}

impl Device {
    fn frame<Id>(&mut self, data: &[u8]) -> Heard<Id> {
        self.kind = Kind::Sender;
        match (Frame::from_service_data(data), self.rssi) {
            (Ok(frame), Some(rssi)) => Heard::Frame(frame, rssi),
            _ => Heard::Nothing,
        }
    }

    /// It was heard once more, without a frame.
    fn shown<Id>(&mut self, id: Id, rssi: Rssi, monotonic: Duration) -> Heard<Id> {
        match self.kind {
            Kind::Asked { until, .. } if monotonic >= until => self.kind = Kind::Connectable,
            _ => {}
        }
        match self.kind {
            Kind::Foreign | Kind::Sender | Kind::Asked { frame: None, .. } => Heard::Nothing,
            Kind::Connectable => Heard::Connectable(id, rssi),
            Kind::Asked { frame: Some(frame), .. } => Heard::Frame(frame, rssi),
        }
    }
}

/// What a device says under the first of these services that it names.
fn frame_data<'a>(services: &[Uuid], service_data: &'a HashMap<Uuid, Vec<u8>>) -> Option<&'a Vec<u8>> {
    services.iter().find_map(|service| service_data.get(service))
}

/// Every strength that is one fits, and 127 means that there is none.
fn rssi(dbm: i16) -> Option<Rssi> {
    i8::try_from(dbm).ok().map(Rssi).filter(|rssi| rssi.is_valid())
}

/// A 16-bit UUID in full (Core Specification v5.4, vol 3, part B, 2.5.1).
pub(super) fn full_uuid(service: ServiceUuid) -> Uuid {
    const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5F9B_34FB;
    Uuid::from_u128(BASE | u128::from(service.0) << 96)
}

#[cfg(test)]
mod tests;
