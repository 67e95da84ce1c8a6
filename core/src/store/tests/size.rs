//! How much room encounters take.

use super::*;

/// Bytes of all files of a store whose log has been moved into the database.
fn bytes(store: &Store, path: &Path) -> u64 {
    assert!(erasure::truncate_log(&store.conn).unwrap());
    ["", "-wal"].iter().map(|suffix| std::fs::metadata(files::sibling(path, suffix)).unwrap().len()).sum()
}

fn fill(store: &mut Store, encounters: u64, gap: Duration, packets: impl Fn(u64) -> u64) {
    let rng = &mut rng(9);
    let all: Vec<_> = (0..encounters).map(|i| some_encounter(NOW.after(gap * i as u32), packets(i), rng)).collect();
    all.chunks(500).for_each(|batch| store.add_encounters(batch).unwrap());
}

#[test]
fn fourteen_days_of_5_000_packets_a_day_take_at_most_3_2_mb_though_each_is_an_encounter_of_its_own() {
    let (_dir, path) = place();
    let mut store = open(&path);
    fill(&mut store, 70_000, Duration::from_millis(17_280), |_| 1);
    let bytes = bytes(&store, &path);
    println!("{bytes} bytes for 70,000 encounters of one packet");
    assert!(bytes <= 3_200_000, "{bytes}");
}

#[test]
fn packets_that_share_a_scan_take_far_less() {
    let (_dir, path) = place();
    let mut store = open(&path);
    fill(&mut store, 7_000, Duration::from_secs(170), |i| 1 + i % 19);
    let bytes = bytes(&store, &path);
    println!("{bytes} bytes for 70,000 packets in 7,000 encounters");
    assert!(bytes <= 600_000, "{bytes}");
}

#[test]
fn a_flood_of_400_000_encounters_fits_into_20_mb() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let empty = bytes(&store, &path);
    fill(&mut store, 40_000, Duration::from_millis(9), |_| 1);
    let each = (bytes(&store, &path) - empty) as f64 / 40_000.0;
    println!("{each} bytes for an encounter of one packet");
    assert!(empty as f64 + 400_000.0 * each <= 20e6, "{each}");
}
