//! Damage: what is salvaged, what is said, and that no interruption loses anything.

use std::fs;

use super::*;

struct Before {
    own_keys: Vec<OwnKey>,
    alerts: Vec<Alert>,
    exposures: Vec<Exposure>,
    secret: StoreSecret,
}

/// A store with something of everything, 3,000 encounters in the middle, closed.
fn filled(path: &Path) -> Before {
    let (mut store, rng) = (open(path), &mut rng(3));
    (0..3).for_each(|day| store.keep_sending(&some_sending(NOW.before(days(day)), rng)).unwrap());
    let heard: Vec<_> = (0..3000).map(|_| some_encounter(NOW, 5, rng)).collect();
    store.add_encounters(&heard).unwrap();
    let met: Vec<_> = (0..5).map(|_| some_exposure(NOW, rng)).collect();
    store.record_matches(&[1; 32], HALF, &met, NOW).unwrap();
    store.update_alerts(&[some_alert(&met[0], NOW), some_alert(&met[1], NOW)], &[]).unwrap();
    Before {
        own_keys: store.own_keys().unwrap(),
        alerts: store.alerts().unwrap(),
        exposures: store.exposures().unwrap(),
        secret: store.secret().unwrap(),
    }
}

const PAGE: usize = 4096;

/// Overwrites the pages of the encounters' table that lie after the others.
pub(super) fn damage_encounters(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let pages = bytes.len() / PAGE;
    bytes[(pages / 2) * PAGE..(pages / 2 + 3) * PAGE].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

fn everything_is_there(path: &Path, before: &Before, at: Timestamp) {
    let (store, opened) = open_at(path, at).unwrap();
    let Opened::Recovered { set_aside, own_keys: 3, alerts: 2 } = opened else { panic!("{opened:?}") };
    assert!(set_aside.exists());
    assert_eq!(store.own_keys().unwrap(), before.own_keys);
    assert_eq!(store.alerts().unwrap(), before.alerts);
    assert_eq!(store.exposures().unwrap(), before.exposures);
    assert_eq!(store.secret().unwrap().as_bytes(), before.secret.as_bytes(), "or the alerts would be raised again");
    assert_eq!(store.identifiers().unwrap(), []);
    drop(store);
    let (mut store, opened) = open_at(path, at).unwrap();
    assert!(matches!(opened, Opened::Recovered { .. }), "nobody was told yet");
    store.forget_recovery().unwrap();
    drop(store);
    let (mut store, opened) = open_at(path, at).unwrap();
    assert_eq!(opened, Opened::Existing);
    store.erase_expired(at.after(days(14))).unwrap();
    assert!(set_aside.exists());
    store.erase_expired(at.after(days(15))).unwrap();
    assert!(!set_aside.exists(), "after 14 days it is gone");
}

#[test]
fn damage_that_is_met_in_use_is_repaired_by_the_next_opening() {
    let (_dir, path) = place();
    let before = filled(&path);
    damage_encounters(&path);
    let (store, opened) = open_at(&path, NOW).unwrap();
    assert_eq!(opened, Opened::Existing, "opening does not read everything");
    assert_eq!(store.identifiers(), Err(StoreError::Corrupt));
    drop(store);
    everything_is_there(&path, &before, NOW);
}

#[test]
fn damage_that_was_only_suspected_sets_nothing_aside() {
    let (_dir, path) = place();
    let before = filled(&path);
    open(&path).home.as_ref().unwrap().lock.mark_damaged().unwrap();
    let (store, opened) = open_at(&path, NOW).unwrap();
    assert_eq!((opened, store.own_keys().unwrap()), (Opened::Existing, before.own_keys));
    assert!(!store.home.as_ref().unwrap().lock.is_marked().unwrap());
    assert_eq!(store.identifiers().unwrap().len(), 3000);
}

#[test]
fn a_cut_database_is_salvaged_as_far_as_it_goes() {
    let (_dir, path) = place();
    let before = filled(&path);
    let whole = fs::read(&path).unwrap();
    let mut salvaged = 0;
    for pages in (1..whole.len() / PAGE).step_by(7) {
        for cut in [pages * PAGE, pages * PAGE + 700] {
            let (_dir, path) = place();
            fs::write(&path, &whole[..cut]).unwrap();
            let (store, opened) = match open_at(&path, NOW) {
                Ok((store, Opened::Existing)) => {
                    assert!(store.identifiers().is_err(), "{cut} of {} bytes", whole.len());
                    drop(store);
                    open_at(&path, NOW).unwrap()
                }
                opened => opened.unwrap(),
            };
            let Opened::Recovered { own_keys, set_aside, .. } = opened else { panic!("{opened:?} of {cut} bytes") };
            assert_eq!(fs::read(set_aside).unwrap(), whole[..cut]);
            let keys = store.own_keys().unwrap();
            assert!(keys == before.own_keys || keys.is_empty(), "{own_keys}");
            salvaged += keys.len();
        }
    }
    assert!(salvaged > 0);
}

#[test]
fn each_damaged_page_is_survived_and_costs_no_key_that_is_elsewhere() {
    let (_dir, path) = place();
    let before = filled(&path);
    let whole = fs::read(&path).unwrap();
    let page_of = |table: &str| {
        let store = open(&path);
        let root: usize =
            store.conn.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table], |row| row.get(0)).unwrap();
        root - 1
    };
    let keys_page = page_of("own_keys");
    for page in 0..30 {
        let (_dir, path) = place();
        let mut bytes = whole.clone();
        // The first 100 bytes say whose database it is.
        bytes[(page * PAGE).max(100)..(page + 1) * PAGE].fill(0x5A);
        fs::write(&path, bytes).unwrap();
        let use_it = || -> Result<Vec<OwnKey>, StoreError> {
            let mut store = open_at(&path, NOW)?.0;
            let keys = store.own_keys()?;
            store.identifiers()?;
            store.exposures()?;
            store.record_matches(&[1; 32], HALF, &[some_exposure(NOW, &mut rng(7))], NOW)?;
            store.keep_sending(&some_sending(NOW.after(days(1)), &mut rng(9)))?;
            store.add_encounters(&[some_encounter(NOW, 1, &mut rng(8))])?;
            Ok(keys)
        };
        let keys = use_it().or_else(|e| if e == StoreError::Corrupt { use_it() } else { Err(e) }).unwrap();
        if page != 0 && page != keys_page {
            assert!(keys.starts_with(&before.own_keys), "page {page}");
        }
    }
}

#[test]
fn a_recovery_that_is_interrupted_anywhere_goes_on() {
    let (_dir, path) = place();
    let before = filled(&path);
    damage_encounters(&path);
    assert!(open(&path).identifiers().is_err());
    let damaged = fs::read(&path).unwrap();
    let sibling = |path: &Path, suffix| files::sibling(path, suffix);

    // What a whole recovery leaves at each step: taken from one that is stopped before its files are moved.
    let home = open::Home { lock: files::Lock::take(&path).unwrap(), path: path.clone(), vault: None };
    let salvage = salvage::Salvage::read(&path, None, &mut rng(1)).unwrap();
    open::build(&sibling(&path, "-new"), &salvage, Some(NOW.unix_s())).unwrap();
    let complete = fs::read(sibling(&path, "-new")).unwrap();
    drop(home);

    type Setup<'a> = &'a dyn Fn(&Path);
    let put = |path: &Path, suffix, content: &[u8]| fs::write(sibling(path, suffix), content).unwrap();
    let interrupted: [(&str, Setup); 5] = [
        ("half built", &|p| (put(p, "", &damaged), put(p, "-new", &complete[..9000]), put(p, "-new-wal", b"x")).2),
        ("built", &|p| (put(p, "", &damaged), put(p, "-new", &complete)).1),
        ("complete", &|p| (put(p, "", &damaged), put(p, "-wal", b"old"), put(p, "-recovered", &complete)).2),
        ("log moved", &|p| (put(p, "", &damaged), put(p, "-recovered", &complete)).1),
        ("all moved", &|p| {
            (
                files::replace(&files::set_aside_path(p, NOW.unix_s()), &{
                    put(p, "-x", &damaged);
                    sibling(p, "-x")
                })
                .unwrap(),
                put(p, "-recovered", &complete),
            )
                .1
        }),
    ];
    for (step, set_up) in interrupted {
        println!("{step}");
        let (_dir, path) = place();
        put(&path, "-lock", b"damaged\n");
        set_up(&path);
        everything_is_there(&path, &before, NOW);
        assert!(!sibling(&path, "-recovered").exists() && !sibling(&path, "-new").exists());
    }
}
