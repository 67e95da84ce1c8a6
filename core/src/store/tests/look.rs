//! A look says what opening would meet, and touches nothing.

use std::collections::BTreeMap;
use std::fs;

use super::*;

fn look(path: &Path) -> Result<Look, StoreError> {
    let everything = || -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()))).collect()
    };
    let before = everything();
    let found = Store::look(path);
    assert!(everything() == before, "something was touched");
    found
}

#[test]
fn a_look_says_how_a_store_stands_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a store? 100% #1 ä.db");
    assert_eq!(look(&path), Ok(Look::Nothing));
    let mut store = open(&path);
    assert_eq!(Store::look(&path), Ok(Look::InUse));
    store.add_encounters(&[some_encounter(NOW, 5, &mut rng(1))]).unwrap();
    drop(store);
    assert_eq!(look(&path), Ok(Look::Sound { last_seen: None }));

    let mut store = open(&path);
    store.set_clock_state(ClockState { last_seen: NOW, doubt: None }).unwrap();
    let copy = dir.path().join("copy.db");
    for suffix in ["", "-wal", "-lock"] {
        fs::copy(files::sibling(&path, suffix), files::sibling(&copy, suffix)).unwrap();
    }
    drop(store);
    assert_eq!(look(&path), Ok(Look::Sound { last_seen: Some(NOW) }));
    assert_eq!(look(&copy), Ok(Look::NotClosed), "as after a loss of power");
    drop(open(&copy));
    assert_eq!(look(&copy), Ok(Look::Sound { last_seen: Some(NOW) }));
}

#[test]
fn a_look_sees_damage_as_opening_does() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let heard: Vec<_> = (0..3000).map(|_| some_encounter(NOW, 5, &mut rng(3))).collect();
    store.add_encounters(&heard).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3 * 4096].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    assert_eq!(look(&path), Ok(Look::Damaged));

    let (_dir, path) = place();
    drop(open(&path));
    fs::write(files::sibling(&path, "-lock"), "damaged\n").unwrap();
    assert_eq!(look(&path), Ok(Look::Damaged), "when it was last open");
}

#[test]
fn a_look_refuses_what_opening_refuses() {
    let (_dir, path) = place();
    fs::write(&path, "notes").unwrap();
    assert_eq!(look(&path), Err(StoreError::NotAVigieStore { path: path.clone() }));
    fs::remove_file(&path).unwrap();
    drop(open(&path));
    let mut bytes = fs::read(&path).unwrap();
    bytes[63] = 9;
    fs::write(&path, bytes).unwrap();
    assert_eq!(look(&path), Err(StoreError::NewerVersion { found: 9, known: schema::VERSION }));
}
