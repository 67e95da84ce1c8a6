//! What stands behind the handles: all devices, the true time, and the packets between them.
//!
//! Work is done only while somebody listens. Then time is cut into spans of at most [`SPAN_MS`]; in each, senders that cannot be near a listener are left out,
//! the packets of the others are listed in order of time, and each listener goes through the list. A span ends nowhere in particular: whether and how a
//! packet is heard depends on the packet alone ([`Noise`]), so the same simulation in other steps gives the same trace.
//!
//! ```text
//! packet k of a transmission is sent at  its start + k * slot + jitter      slot = (longest + shortest interval) / 2
//!                                                                           jitter = 0..=(longest - shortest interval) / 2, drawn for each packet
//! ```
//! so that two neighbours are never less than the shortest and never more than the longest interval apart, and any packet is found without those before it.

use std::collections::BTreeSet;
use std::mem;

use super::model::{AirModel, DeviceModel, SHADOWING_MS};
use super::noise::Noise;
use super::trace::{DeviceAddress, TraceEvent};
use super::track::{Position, Track};
use crate::beacon::{Frame, ServiceUuid};
use crate::radio::{MeasuredBy, RadioError, Rssi, Sighting};
use crate::time::Timestamp;

/// Longer spans find more senders that may come near, shorter ones look more often.
const SPAN_MS: i64 = 1000;

/// Packets that an adapter keeps for an app that does not take them; further ones are lost.
pub(super) const MAX_UNTAKEN: usize = 65_536;

// Branches of the seed's noise.
const ADDRESSES: u64 = 1;
const PACKETS: u64 = 2;
const SHADOWS: u64 = 3;

pub(super) struct World {
    model: AirModel,
    noise: Noise,
    start: Timestamp,
    now: Timestamp,
    devices: Vec<Device>,
    /// Those that listen, in order of their number.
    listening: BTreeSet<u32>,
    trace: Option<Vec<TraceEvent>>,
    /// Kept between spans for its memory alone.
    packets: Vec<Packet>,
}

struct Device {
    model: DeviceModel,
    track: Track,
    awake: bool,
    transmission: Option<Transmission>,
    /// Under which the next transmission goes out, and which are heard.
    sent: ServiceUuid,
    heard: Vec<ServiceUuid>,
    /// How many transmissions it has begun.
    transmissions: u64,
    untaken: Vec<Sighting>,
    /// Listening was ended by sleep, and the scanner has not been told or started since.
    cut_off: bool,
    /// How far people have set its wall clock, in milliseconds.
    clock_set_ms: i64,
}

/// One frame under one address. The two are never apart.
#[derive(Clone, Copy)]
struct Transmission {
    address: DeviceAddress,
    service: ServiceUuid,
    frame: Frame,
    start: Timestamp,
    noise: Noise,
}

#[derive(Clone, Copy)]
struct Packet {
    at: Timestamp,
    sender: u32,
    service: ServiceUuid,
    position: Position,
    noise: Noise,
}

struct Listener {
    number: u32,
    position: Position,
    /// Beyond this from `position`, in metres, nothing can be heard in this span.
    reach_m: f64,
}

impl World {
    pub(super) fn new(model: AirModel, start: Timestamp, seed: u64) -> Self {
        Self {
            model,
            noise: Noise::new(seed),
            start,
            now: start,
            devices: Vec::new(),
            listening: BTreeSet::new(),
            trace: None,
            packets: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn add(&mut self, model: DeviceModel, track: Track) -> u32 {
        self.devices.push(Device {
            model,
            track,
            awake: true,
            transmission: None,
            sent: ServiceUuid::default(),
            heard: vec![ServiceUuid::default()],
            transmissions: 0,
            untaken: Vec::new(),
            cut_off: false,
            clock_set_ms: 0,
        });
        (self.devices.len() - 1) as u32
    }

    fn device(&self, number: u32) -> &Device {
        &self.devices[number as usize]
    }

    fn device_mut(&mut self, number: u32) -> &mut Device {
        &mut self.devices[number as usize]
    }

    pub(super) fn position(&self, number: u32, at: Timestamp) -> Position {
        self.device(number).track.at(at)
    }

    pub(super) fn set_track(&mut self, number: u32, track: Track) {
        self.device_mut(number).track = track;
    }

    pub(super) fn record_trace(&mut self, on: bool) {
        self.trace = on.then(Vec::new);
    }

    pub(super) fn take_trace(&mut self) -> Vec<TraceEvent> {
        self.trace.as_mut().map(mem::take).unwrap_or_default()
    }

    fn record(&mut self, event: TraceEvent) {
        if let Some(trace) = &mut self.trace {
            trace.push(event);
        }
    }

    pub(super) fn sleep(&mut self, number: u32) {
        self.end_transmission(number);
        let listened = self.listening.remove(&number);
        let device = self.device_mut(number);
        device.awake = false;
        device.cut_off |= listened;
    }

    pub(super) fn wake(&mut self, number: u32) {
        self.device_mut(number).awake = true;
    }

    pub(super) fn listen(&mut self, number: u32) -> Result<(), RadioError> {
        let device = self.device_mut(number);
        if !device.awake {
            return Err(RadioError::PoweredOff);
        }
        device.cut_off = false;
        self.listening.insert(number);
        Ok(())
    }

    pub(super) fn end_listening(&mut self, number: u32) {
        self.listening.remove(&number);
        self.device_mut(number).cut_off = false;
    }

    pub(super) fn take(&mut self, number: u32, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let device = self.device_mut(number);
        heard.append(&mut device.untaken);
        if mem::take(&mut device.cut_off) { Err(RadioError::PoweredOff) } else { Ok(()) }
    }

    pub(super) fn send_under(&mut self, number: u32, service: ServiceUuid) {
        self.device_mut(number).sent = service;
    }

    pub(super) fn hear_services(&mut self, number: u32, services: &[ServiceUuid]) {
        self.device_mut(number).heard = services.to_vec();
    }

    pub(super) fn transmit(&mut self, number: u32, frame: Frame) -> Result<(), RadioError> {
        self.end_transmission(number);
        if !self.device(number).awake {
            return Err(RadioError::PoweredOff);
        }
        let (at, noise) = (self.now, self.noise);
        let device = self.device_mut(number);
        let [a, b, c, d, e, f, ..] = noise.of(ADDRESSES).of(u64::from(number)).of(device.transmissions).bits().to_be_bytes();
        let address = DeviceAddress([a & 0x3F, b, c, d, e, f]);
        let noise = noise.of(PACKETS).of(u64::from(number)).of(device.transmissions);
        device.transmission = Some(Transmission { address, service: device.sent, frame, start: at, noise });
        device.transmissions += 1;
        self.record(TraceEvent::Sends { at, sender: number, address, frame });
        Ok(())
    }

    pub(super) fn end_transmission(&mut self, number: u32) {
        if self.device_mut(number).transmission.take().is_some() {
            self.record(TraceEvent::Ends { at: self.now, sender: number });
        }
    }

    /// What the device's wall clock shows when the true time is `t`.
    pub(super) fn wall_clock(&self, number: u32, t: Timestamp) -> Timestamp {
        let device = self.device(number);
        let wrong_ms = device.clock_set_ms.saturating_add(device.model.clock_offset_ms);
        let true_ms = t.unix_ms().saturating_add(self.gained_ms(device, t));
        Timestamp::from_unix_ms(true_ms.saturating_add(wrong_ms))
    }

    pub(super) fn set_wall_clock(&mut self, number: u32, wall: Timestamp) {
        let shown = self.wall_clock(number, self.now);
        let device = self.device_mut(number);
        device.clock_set_ms = device.clock_set_ms.saturating_add(wall.unix_ms().saturating_sub(shown.unix_ms()));
    }

    /// Milliseconds since the start as the device counts them.
    pub(super) fn monotonic_ms(&self, number: u32) -> u64 {
        let elapsed = self.now.unix_ms().saturating_sub(self.start.unix_ms());
        u64::try_from(elapsed.saturating_add(self.gained_ms(self.device(number), self.now))).unwrap_or(0)
    }

    /// What a clock that is too fast has gained since the start, in milliseconds.
    fn gained_ms(&self, device: &Device, t: Timestamp) -> i64 {
        let elapsed = t.unix_ms().saturating_sub(self.start.unix_ms());
        elapsed.saturating_mul(i64::from(device.model.clock_ppm)).div_euclid(1_000_000)
    }

    pub(super) fn advance_to(&mut self, t: Timestamp) {
        while self.now < t && !self.listening.is_empty() {
            let end = Timestamp::from_unix_ms(self.now.unix_ms().saturating_add(SPAN_MS)).min(t);
            self.span(end);
            self.now = end;
        }
        self.now = self.now.max(t);
    }

    /// Everything that is heard from now, inclusive, to `end`, exclusive.
    fn span(&mut self, end: Timestamp) {
        let listeners = self.listeners(end);
        let mut packets = mem::take(&mut self.packets);
        self.list_packets(&listeners, end, &mut packets);
        let traced = self.trace.as_ref().map_or(0, Vec::len);
        for listener in &listeners {
            for packet in packets.iter().filter(|p| p.sender != listener.number) {
                if let Some(rssi) = self.reception(listener, packet) {
                    self.hear(listener.number, packet, rssi);
                }
            }
        }
        if let Some(trace) = &mut self.trace {
            // Each listener's packets were in order; this puts the listeners between each other. It is stable: at one moment the lowest number comes first.
            trace[traced..].sort_by_key(|event| match event {
                TraceEvent::Heard { at, sender, .. } => (*at, *sender),
                TraceEvent::Sends { at, sender, .. } | TraceEvent::Ends { at, sender } => (*at, *sender),
            });
        }
        packets.clear();
        self.packets = packets;
    }

    fn listeners(&self, end: Timestamp) -> Vec<Listener> {
        let span_ms = (end.unix_ms() - self.now.unix_ms()) as f64;
        let listener = |number: &u32| {
            let track = &self.device(*number).track;
            // A centimetre for the rounding of positions.
            let reach_m = self.model.range_m + track.farthest_in(span_ms) + 0.01;
            Listener { number: *number, position: track.at(self.now), reach_m }
        };
        self.listening.iter().map(listener).collect()
    }

    /// The packets of all senders that may come into the range of a listener before `end`, in order of time, then of sender.
    fn list_packets(&self, listeners: &[Listener], end: Timestamp, packets: &mut Vec<Packet>) {
        let span_ms = (end.unix_ms() - self.now.unix_ms()) as f64;
        for (sender, device) in (0..).zip(&self.devices) {
            let Some(transmission) = &device.transmission else { continue };
            let (position, moves_m) = (device.track.at(self.now), device.track.farthest_in(span_ms));
            let near = |l: &Listener| {
                l.number != sender && l.position.square_to(position) <= (l.reach_m + moves_m) * (l.reach_m + moves_m)
            };
            if listeners.iter().any(near) {
                let times = self.packet_times(transmission, end);
                let service = transmission.service;
                packets.extend(times.map(|(at, noise)| Packet { at, sender, service, position: device.track.at(at), noise }));
            }
        }
        packets.sort_unstable_by_key(|p| (p.at, p.sender));
    }

    /// When a transmission sends from now, inclusive, to `end`, exclusive, and the chance of each packet.
    fn packet_times(&self, transmission: &Transmission, end: Timestamp) -> impl Iterator<Item = (Timestamp, Noise)> + use<> {
        let interval = &self.model.advertising_interval_ms;
        let slot_ms = i64::from(interval.start().midpoint(*interval.end()));
        let jitter_ms = (interval.end() - interval.start()) / 2;
        let (now, start, noise) = (self.now, transmission.start.unix_ms(), transmission.noise);
        let first = (now.unix_ms() - start - i64::from(jitter_ms)).div_euclid(slot_ms).max(0);
        let last = (end.unix_ms() - start).div_euclid(slot_ms);
        (first..=last)
            .map(move |k| {
                let noise = noise.of(k as u64);
                let ms = start + k * slot_ms + i64::from(noise.below(jitter_ms + 1));
                (Timestamp::from_unix_ms(ms), noise)
            })
            .filter(move |(at, _)| now <= *at && *at < end)
    }

    /// How strongly a packet comes in, `None` where it does not.
    fn reception(&self, listener: &Listener, packet: &Packet) -> Option<Rssi> {
        if listener.position.square_to(packet.position) > listener.reach_m * listener.reach_m {
            return None;
        }
        let (model, sender, receiver) = (&self.model, self.device(packet.sender), self.device(listener.number));
        if !receiver.heard.contains(&packet.service) {
            return None;
        }
        let square_m2 = receiver.track.at(packet.at).square_to(packet.position);
        let chance = packet.noise.of(u64::from(listener.number));
        let heard = (1.0 - model.packet_loss) * receiver.model.scan_duty;
        if square_m2 > model.range_m * model.range_m || !chance.happens(heard) {
            return None;
        }
        let strength_dbm = f64::from(sender.model.transmit_power)
            - model.path_loss_of_square(square_m2)
            - model.body_loss(sender.model.carried)
            - model.body_loss(receiver.model.carried)
            + model.shadowing_sigma_db * self.shadow(packet.sender, listener.number, packet.at)
            + model.fading_sigma_db * chance.normal();
        if strength_dbm < model.sensitivity_dbm {
            return None;
        }
        let reported = strength_dbm - f64::from(receiver.model.rssi_correction);
        Some(Rssi((reported + 0.5).floor().clamp(-127.0, 20.0) as i8))
    }

    /// The shadow between two devices at a time, in deviations: the same seen from both.
    fn shadow(&self, a: u32, b: u32, at: Timestamp) -> f64 {
        let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        let block = at.unix_ms().div_euclid(SHADOWING_MS);
        self.noise.of(SHADOWS).of(pair).of(block as u64).normal()
    }

    fn hear(&mut self, receiver: u32, packet: &Packet, rssi: Rssi) {
        let Some(Transmission { address, frame, .. }) = self.device(packet.sender).transmission else { return };
        let at = self.wall_clock(receiver, packet.at);
        let untaken = &mut self.device_mut(receiver).untaken;
        if untaken.len() < MAX_UNTAKEN {
            untaken.push(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at });
            self.record(TraceEvent::Heard { at: packet.at, sender: packet.sender, address, frame, receiver, rssi });
        }
    }
}
