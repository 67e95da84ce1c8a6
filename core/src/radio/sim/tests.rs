//! The air, measured from outside: through its handles and its trace.

use std::collections::HashSet;

use super::scenes::{self, Person};
use super::*;
use crate::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
use crate::radio::{MeasuredBy, Rssi};

const START: Timestamp = Timestamp::from_unix_s(1_600_000_000);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The frame that device `device` sends as its number `n`.
fn frame(device: u32, n: u32) -> Frame {
    let mut rpi = [0; 16];
    rpi[..4].copy_from_slice(&device.to_le_bytes());
    rpi[4..8].copy_from_slice(&n.to_le_bytes());
    Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata([1, 2, 3, 4]) }
}

fn air(model: AirModel) -> Air {
    Air::new(model, START, 7).unwrap()
}

fn still(air: &Air, x_m: f64) -> SimDevice {
    device(air, x_m, DeviceModel::default())
}

fn device(air: &Air, x_m: f64, model: DeviceModel) -> SimDevice {
    air.add_device(model, Track::still(Position::new(x_m, 0.0)).unwrap()).unwrap()
}

fn pass(air: &Air, time: Duration) {
    air.advance_to(air.now().after(time));
}

/// What `receiver` hears of `sender` in some time.
fn hear(air: &Air, sender: &SimDevice, receiver: &SimDevice, time: Duration) -> Vec<Sighting> {
    let (mut sends, mut hears, mut heard) = (sender.advertiser(), receiver.scanner(), Vec::new());
    sends.advertise(frame(sender.number(), 0)).unwrap();
    hears.start().unwrap();
    pass(air, time);
    hears.take(&mut heard).unwrap();
    heard
}

fn mean(heard: &[Sighting]) -> f64 {
    heard.iter().map(|s| f64::from(s.rssi.0)).sum::<f64>() / heard.len() as f64
}

/// The simulation loop in small: each phone listens for 4 s every 4 minutes and has a new frame every 10 to 20 minutes. The trace's bytes.
fn run(people: Vec<Person>, time: Duration, seed: u64, step: Duration) -> Vec<u8> {
    let air = Air::new(AirModel::default(), START, seed).unwrap();
    air.record_trace(true);
    let mut phones: Vec<_> = people
        .into_iter()
        .map(|person| {
            let device = air.add_device(person.model, person.track).unwrap();
            (device.number(), device.scanner(), device.advertiser())
        })
        .collect();
    let mut heard = Vec::new();
    for second in 0..time.as_secs() {
        for (number, scanner, advertiser) in &mut phones {
            let own = second + u64::from(*number) * 37;
            match own % 240 {
                0 => scanner.start().unwrap(),
                4 => scanner.stop(),
                _ => {}
            }
            if second == 0 || own % (600 + u64::from(*number) * 60) == 0 {
                advertiser.advertise(frame(*number, second as u32)).unwrap();
            }
            scanner.take(&mut heard).unwrap();
        }
        let next = START.after(seconds(second + 1));
        while air.now() < next {
            air.advance_to(air.now().after(step).min(next));
        }
    }
    let mut bytes = Vec::new();
    air.take_trace().iter().for_each(|event| event.encode(&mut bytes));
    bytes
}

fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_machine_and_optimisation_level_makes_these_very_bytes() {
    let time = seconds(1200);
    let scenes = [scenes::dense_room, scenes::tram, scenes::street];
    let bytes = scenes.map(|scene| run(scene(12, START, time, 1).unwrap(), time, 2, seconds(1)));
    assert!(bytes.iter().all(|b| b.len() > 10_000), "{:?}", bytes.each_ref().map(Vec::len));
    let expected = [
        "042b71a40ec70beaee8c3a705e78e72a3a876e0dcd2f4f3e33868cc2c99141d9",
        "1d6a96c18a5dee97ef5841db82d84e5e6df44a14b0fede0e11234fbbaecb093e",
        "f6e0bdc6ceed1fc153b12fcd01f0a651c137bf56744763bb51e4906217c13c4e",
    ];
    assert_eq!(bytes.each_ref().map(|b| digest(b)), expected);
}

#[test]
fn the_trace_does_not_depend_on_how_time_is_cut() {
    let time = seconds(600);
    let run = |step| run(scenes::tram(20, START, time, 3).unwrap(), time, 4, step);
    let whole = run(seconds(1));
    assert!(whole.len() > 10_000);
    for ms in [7, 90, 333, 1000] {
        assert!(run(Duration::from_millis(ms)) == whole, "in steps of {ms} ms");
    }
}

#[test]
fn one_long_step_is_many_short_ones() {
    let trace = |step: Duration| {
        let air = air(AirModel::default());
        let phones: Vec<_> = (0..6).map(|i| still(&air, f64::from(i) * 4.0)).collect();
        let mut radios: Vec<_> = phones.iter().map(|p| (p.advertiser(), p.scanner())).collect();
        for ((sends, hears), phone) in radios.iter_mut().zip(&phones) {
            sends.advertise(frame(phone.number(), 0)).unwrap();
            hears.start().unwrap();
        }
        air.record_trace(true);
        while air.now() < START.after(seconds(60)) {
            pass(&air, step);
        }
        air.take_trace()
    };
    let whole = trace(seconds(60));
    assert!(whole.len() > 3000);
    assert_eq!(whole, trace(Duration::from_millis(1)));
    assert!(whole.is_sorted_by_key(|event| match event {
        TraceEvent::Heard { at, sender, receiver, .. } => (*at, *sender, *receiver),
        other => panic!("{other:?}"),
    }));
}

#[test]
fn another_seed_is_another_trace() {
    let time = seconds(300);
    let run = |scene, seed| run(scenes::street(8, START, time, scene).unwrap(), time, seed, seconds(1));
    let traces = [run(1, 1), run(1, 2), run(2, 1)];
    assert!(traces[0] != traces[1] && traces[0] != traces[2]);
    assert!(traces[0] == run(1, 1));
}

#[test]
fn strength_follows_the_path_loss() {
    for distance_m in [0.5, 1.0, 2.0, 4.0, 8.0] {
        let model = AirModel { path_loss_exponent: 2.2, sensitivity_dbm: -150.0, ..AirModel::default() };
        let expected = -23.0 - 2.0 - model.path_loss_db(distance_m);
        let air = air(model);
        let [a, b] = [0.0, distance_m]
            .map(|x| device(&air, x, DeviceModel { transmit_power: -23, rssi_correction: 2, ..DeviceModel::default() }));
        // Two hours: 720 shadows, some 28,000 packets.
        let heard = hear(&air, &a, &b, seconds(7200));
        assert!((mean(&heard) - expected).abs() < 1.0, "{distance_m} m: {} for {expected}", mean(&heard));
        assert!(heard.iter().all(|s| s.measured_by == MeasuredBy::Us && s.frame == frame(0, 0)));
    }
    let model = AirModel::default();
    assert!((model.path_loss_db(1.0) - 40.0).abs() < 1e-9 && (model.path_loss_db(10.0) - 60.0).abs() < 1e-9);
}

#[test]
fn power_correction_and_pockets_shift_strength_by_their_figures() {
    let strength = |sender: DeviceModel, receiver: DeviceModel| {
        let air = air(AirModel::without_chance());
        let heard = hear(&air, &device(&air, 0.0, sender), &device(&air, 1.0, receiver), seconds(4));
        assert!(heard.iter().all(|s| s.rssi == heard[0].rssi));
        heard[0].rssi
    };
    let plain = DeviceModel { transmit_power: -20, rssi_correction: 0, ..DeviceModel::default() };
    assert_eq!(strength(plain, plain), Rssi(-60));
    assert_eq!(strength(DeviceModel { transmit_power: -25, ..plain }, plain), Rssi(-65));
    assert_eq!(strength(plain, DeviceModel { rssi_correction: 6, ..plain }), Rssi(-66));
    assert_eq!(strength(DeviceModel { rssi_correction: 6, ..plain }, DeviceModel { transmit_power: 9, ..plain }), Rssi(-60));
    let pocket = DeviceModel { carried: Carried::Pocket, ..plain };
    assert_eq!((strength(pocket, plain), strength(plain, pocket), strength(pocket, pocket)), (Rssi(-67), Rssi(-67), Rssi(-74)));
}

#[test]
fn a_shadow_is_the_same_seen_from_both_sides() {
    let air = air(AirModel { fading_sigma_db: 0.0, packet_loss: 0.0, ..AirModel::default() });
    let (a, b) = (still(&air, 0.0), still(&air, 3.0));
    let mut radios = [&a, &b].map(|p| (p.advertiser(), p.scanner()));
    for (i, (sends, hears)) in (0..).zip(&mut radios) {
        sends.advertise(frame(i, 0)).unwrap();
        hears.start().unwrap();
    }
    let mut shadows = HashSet::new();
    for _ in 0..100 {
        // START is at the beginning of a shadow.
        pass(&air, Duration::from_millis(SHADOWING_MS as u64));
        let [there, back] = radios.each_mut().map(|(_, hears)| {
            let mut heard = Vec::new();
            hears.take(&mut heard).unwrap();
            let strengths: HashSet<_> = heard.iter().map(|s| s.rssi).collect();
            assert_eq!(strengths.len(), 1);
            heard[0].rssi
        });
        assert_eq!(there, back);
        shadows.insert(there);
    }
    assert!(shadows.len() > 10, "{} values", shadows.len());
}

#[test]
fn nothing_is_heard_beyond_the_range_or_below_the_sensitivity() {
    let loud = DeviceModel { transmit_power: 20, ..DeviceModel::default() };
    let count = |x_m: f64, sender: DeviceModel, model: AirModel| {
        let air = air(model);
        hear(&air, &device(&air, 0.0, sender), &still(&air, x_m), seconds(60)).len()
    };
    assert!(count(49.9, loud, AirModel::without_chance()) > 200);
    assert_eq!(count(50.1, loud, AirModel::without_chance()), 0);
    // 73 dB at -25 dBm: 10 to the power of 33/20, or 44.7 m.
    let quiet = DeviceModel::default();
    assert!(count(44.5, quiet, AirModel::without_chance()) > 200);
    assert_eq!(count(44.9, quiet, AirModel::without_chance()), 0);
}

#[test]
fn somebody_who_comes_by_fast_is_heard_exactly_while_in_range() {
    let air = air(AirModel { sensitivity_dbm: -200.0, ..AirModel::without_chance() });
    let far = |x: f64| Position::new(x, 0.0);
    let track = Track::through(vec![(START, far(-3000.0)), (START.after(seconds(120)), far(3000.0))]).unwrap();
    let tram = air.add_device(DeviceModel::default(), track).unwrap();
    let stop = still(&air, 0.0);
    let heard = hear(&air, &tram, &stop, seconds(120));
    // 50 m/s over 100 m: 2 s around the middle.
    assert!((7..=10).contains(&heard.len()), "{}", heard.len());
    for sighting in &heard {
        assert!(tram.distance_to(&stop, sighting.at) <= 50.0);
    }
    assert!(sighting_gaps(&heard).all(|ms| (200..=270).contains(&ms)));
}

fn sighting_gaps(heard: &[Sighting]) -> impl Iterator<Item = i64> {
    heard.windows(2).map(|pair| pair[1].at.unix_ms() - pair[0].at.unix_ms())
}

#[test]
fn packets_come_every_200_to_270_ms_and_some_are_lost() {
    let count = |model: AirModel, scan_duty: f64| {
        let air = air(model);
        hear(&air, &still(&air, 0.0), &device(&air, 1.0, DeviceModel { scan_duty, ..DeviceModel::default() }), seconds(3600))
    };
    let all = count(AirModel::without_chance(), 1.0);
    assert!((15_310..=15_330).contains(&all.len()), "{}", all.len());
    assert!(sighting_gaps(&all).all(|ms| (200..=270).contains(&ms)));
    let gaps: HashSet<_> = sighting_gaps(&all).collect();
    assert!(gaps.len() > 60, "{} different gaps", gaps.len());
    let part = |model, duty| count(model, duty).len() as f64 / all.len() as f64;
    assert!((part(AirModel { packet_loss: 0.25, ..AirModel::without_chance() }, 1.0) - 0.75).abs() < 0.02);
    assert!((part(AirModel { packet_loss: 0.5, ..AirModel::without_chance() }, 0.4) - 0.2).abs() < 0.02);
    assert_eq!(count(AirModel::without_chance(), 0.0).len(), 0);
}

#[test]
fn who_does_not_scan_hears_nothing_and_who_does_not_send_is_not_heard() {
    let air = air(AirModel::without_chance());
    let (a, b) = (still(&air, 0.0), still(&air, 1.0));
    let (mut sends, mut hears, mut heard) = (a.advertiser(), b.scanner(), Vec::new());
    sends.advertise(frame(0, 0)).unwrap();
    pass(&air, seconds(10));
    hears.start().unwrap();
    hears.start().unwrap();
    pass(&air, seconds(4));
    hears.stop();
    pass(&air, seconds(10));
    hears.take(&mut heard).unwrap();
    let (from, to) = (START.after(seconds(10)), START.after(seconds(14)));
    assert!((15..=20).contains(&heard.len()) && heard.iter().all(|s| from <= s.at && s.at < to));
    heard.clear();
    sends.stop();
    hears.start().unwrap();
    pass(&air, seconds(10));
    sends.advertise(frame(0, 1)).unwrap();
    drop(sends);
    pass(&air, seconds(10));
    hears.take(&mut heard).unwrap();
    assert_eq!(heard, vec![]);
}

#[test]
fn a_phone_that_sleeps_neither_sends_nor_hears_and_says_so() {
    let air = air(AirModel::without_chance());
    let (a, b) = (still(&air, 0.0), still(&air, 1.0));
    let mut radios = [&a, &b].map(|p| (p.advertiser(), p.scanner()));
    for (i, (sends, hears)) in (0..).zip(&mut radios) {
        sends.advertise(frame(i, 0)).unwrap();
        hears.start().unwrap();
    }
    let [(sends, hears), (_, other)] = &mut radios;
    let mut heard = Vec::new();
    a.sleep();
    pass(&air, seconds(60));
    assert_eq!(hears.take(&mut heard), Err(RadioError::PoweredOff));
    assert_eq!((hears.start(), sends.advertise(frame(0, 1))), (Err(RadioError::PoweredOff), Err(RadioError::PoweredOff)));
    other.take(&mut heard).unwrap();
    a.wake();
    pass(&air, seconds(60));
    assert_eq!((hears.take(&mut heard), other.take(&mut heard)), (Ok(()), Ok(())));
    assert_eq!(heard, vec![], "neither while asleep, nor by itself afterwards");
    sends.advertise(frame(0, 2)).unwrap();
    hears.start().unwrap();
    pass(&air, seconds(4));
    other.take(&mut heard).unwrap();
    assert!(heard.len() > 10 && heard.iter().all(|s| s.frame == frame(0, 2)));
    heard.clear();
    hears.take(&mut heard).unwrap();
    assert!(heard.len() > 10 && heard.iter().all(|s| s.frame == frame(1, 0)));
}

#[test]
fn address_and_frame_change_together_and_none_comes_twice() {
    let air = air(AirModel::without_chance());
    air.record_trace(true);
    let (a, observer) = (still(&air, 0.0), still(&air, 1.0));
    let (mut sends, mut hears, mut heard) = (a.advertiser(), observer.scanner(), Vec::new());
    hears.start().unwrap();
    for n in 0..500 {
        sends.advertise(frame(0, n)).unwrap();
        pass(&air, Duration::from_millis(u64::from(400 + n)));
    }
    hears.take(&mut heard).unwrap();
    let (mut now, mut addresses, mut frames, mut packets) = (None, HashSet::new(), HashSet::new(), 0);
    for event in air.take_trace() {
        match event {
            TraceEvent::Sends { address, frame, .. } => {
                assert_eq!(address.0[0] & 0xC0, 0, "non-resolvable private");
                assert!(addresses.insert(address) && frames.insert(frame) && now.is_none());
                now = Some((address, frame));
            }
            TraceEvent::Ends { .. } => assert!(now.take().is_some()),
            TraceEvent::Heard { address, frame, .. } => {
                assert_eq!(now, Some((address, frame)));
                packets += 1;
            }
        }
    }
    assert_eq!((frames.len(), packets), (500, heard.len()));
}

#[test]
fn sightings_carry_the_receivers_wrong_clock() {
    let air = air(AirModel::without_chance());
    let wrong = DeviceModel { clock_ppm: 100, clock_offset_ms: 5000, ..DeviceModel::default() };
    let (a, b) = (still(&air, 0.0), device(&air, 1.0, wrong));
    let (right, clock) = (a.clock(), b.clock());
    pass(&air, seconds(10_000));
    assert_eq!((right.now(), right.monotonic()), (air.now(), seconds(10_000)));
    assert_eq!((clock.now(), clock.monotonic()), (air.now().after(seconds(6)), seconds(10_001)));
    let heard = hear(&air, &a, &b, seconds(4));
    assert!(heard.iter().all(|s| s.at.since(START.after(seconds(10_006))) <= seconds(4)) && heard.len() > 10);
    clock.jump_to(Timestamp::from_unix_s(7));
    assert_eq!(clock.now(), Timestamp::from_unix_s(7));
    let before = clock.monotonic();
    let heard = hear(&air, &a, &b, seconds(4));
    assert!(heard.iter().all(|s| (7..=11).contains(&s.at.unix_s())) && heard.len() > 10);
    assert_eq!((clock.monotonic() - before).as_secs(), 4);
    assert_eq!(right.now(), air.now());
}

#[test]
fn what_nobody_takes_is_bounded() {
    let air = air(AirModel::without_chance());
    let senders: Vec<_> = (0..30).map(|i| still(&air, f64::from(i))).collect();
    let mut sends: Vec<_> = senders.iter().map(SimDevice::advertiser).collect();
    for (i, radio) in (0..).zip(&mut sends) {
        radio.advertise(frame(i, 0)).unwrap();
    }
    let (mut hears, mut heard) = (still(&air, 0.0).scanner(), Vec::new());
    hears.start().unwrap();
    pass(&air, seconds(1200));
    hears.take(&mut heard).unwrap();
    assert_eq!(heard.len(), world::MAX_UNTAKEN);
}

#[test]
fn a_phone_that_is_moved_is_heard_where_it_is() {
    let air = air(AirModel::without_chance());
    let (a, b) = (still(&air, 0.0), still(&air, 1000.0));
    assert!(hear(&air, &a, &b, seconds(10)).is_empty());
    b.set_track(Track::still(Position::new(0.0, 2.0)).unwrap());
    assert!((a.distance_to(&b, air.now()) - 2.0).abs() < 1e-9);
    assert!(!hear(&air, &a, &b, seconds(10)).is_empty());
}

#[test]
fn models_that_cannot_be_are_refused() {
    let good = AirModel::default();
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        for model in [
            AirModel { reference_loss_db: bad, ..good.clone() },
            AirModel { path_loss_exponent: bad, ..good.clone() },
            AirModel { shadowing_sigma_db: bad, ..good.clone() },
            AirModel { fading_sigma_db: bad, ..good.clone() },
            AirModel { body_loss_db: bad, ..good.clone() },
            AirModel { packet_loss: bad, ..good.clone() },
            AirModel { sensitivity_dbm: bad * 1000.0, ..good.clone() },
            AirModel { range_m: bad, ..good.clone() },
        ] {
            assert!(matches!(Air::new(model, START, 0), Err(SimError::Parameter { .. })));
        }
        let model = DeviceModel { scan_duty: bad, ..DeviceModel::default() };
        let track = Track::still(Position::new(0.0, 0.0)).unwrap();
        assert!(matches!(air(good.clone()).add_device(model, track), Err(SimError::Parameter { what: "scan_duty", .. })));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is what is refused")]
    for interval in [0..=0, 270..=200, 20..=u32::MAX] {
        let model = AirModel { advertising_interval_ms: interval, ..good.clone() };
        assert!(matches!(Air::new(model, START, 0), Err(SimError::Parameter { .. })));
    }
}

#[test]
fn times_at_the_ends_of_the_world_do_not_panic() {
    for start in [i64::MIN, 0, i64::MAX - 5000] {
        let air = Air::new(AirModel::default(), Timestamp::from_unix_ms(start), 0).unwrap();
        let model = DeviceModel { clock_ppm: -10_000, clock_offset_ms: i64::MIN, ..DeviceModel::default() };
        let (a, b) = (device(&air, 0.0, model), still(&air, 1.0));
        assert!(!hear(&air, &a, &b, seconds(10)).is_empty());
        a.clock().jump_to(Timestamp::from_unix_ms(i64::MAX));
        air.advance_to(Timestamp::from_unix_ms(i64::MAX));
        let _ = (a.clock().now(), a.clock().monotonic(), b.clock().now(), b.clock().monotonic());
    }
}
