//! What is sealed: that no byte of it lies in any file, that all of it comes back, and what becomes of it where the vault or a row fails.

use std::fs;
use std::sync::Arc;

use super::super::sealing::{read_wrapped, seal_all};
use super::opening::files_beside;
use super::*;

fn vault() -> Arc<TestVault> {
    Arc::default()
}

fn open_sealed(path: &Path, vault: &Arc<TestVault>) -> Result<(Store, Opened), StoreError> {
    Store::open_sealed(path, vault.clone(), NOW, &mut rng(u64::MAX))
}

/// All that a store holds.
#[derive(Debug, PartialEq)]
struct Content {
    own_keys: Vec<OwnKey>,
    outbox: Vec<OutboxEntry>,
    notes: Vec<Option<Vec<u8>>>,
    encounters: usize,
    exposures: Vec<Exposure>,
    alerts: Vec<Alert>,
    progress: Option<FileProgress>,
}

impl Content {
    fn of(store: &Store) -> Self {
        Self {
            own_keys: store.own_keys().unwrap(),
            outbox: store.outbox().unwrap(),
            notes: ["a", "b"].map(|name| store.note(name).unwrap()).into(),
            encounters: store.identifiers().unwrap().len(),
            exposures: store.exposures().unwrap(),
            alerts: store.alerts().unwrap(),
            progress: store.file_progress(&[1; 32]).unwrap(),
        }
    }

    /// 16 bytes of each thing that must lie in no file.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let keys = self.own_keys.iter().map(|own| own.key.as_bytes().to_vec());
        let contents = self.outbox.iter().map(|entry| entry.content[..16].to_vec());
        keys.chain(contents).chain(self.notes.iter().flatten().map(|note| note[..16].to_vec())).collect()
    }
}

/// Something of everything: 60 keys and 20 operations, so that pages have been split and moved.
fn fill(store: &mut Store) -> Content {
    let rng = &mut rng(3);
    let mut random = |length: usize| {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let entry = |id, content: Vec<u8>| OutboxEntry { id, made_at: NOW, due: None, attempts: 0, content: content.into() };
    for id in 0..20 {
        let made = vec![entry(id, random(300 + 90 * id as usize))];
        store.keep_changes(&Changes { made, notes: vec![("b".into(), random(700))], ..Changes::default() }).unwrap();
    }
    let changes = Changes { changed: vec![entry(3, random(2_000))], notes: vec![("a".into(), random(50))], ..Changes::default() };
    store.keep_changes(&changes).unwrap();
    for day in 0..60 {
        store.keep_sending(&some_sending(NOW.before(days(day)), rng)).unwrap();
    }
    let heard: Vec<_> = (0..3_000).map(|_| some_encounter(NOW, 5, rng)).collect();
    store.add_encounters(&heard).unwrap();
    let met = [some_exposure(NOW, rng), some_exposure(NOW, rng)];
    store.record_matches(&[1; 32], HALF, &met, NOW).unwrap();
    store.update_alerts(&[some_alert(&met[0], NOW)], &[]).unwrap();
    Content::of(store)
}

fn sealed(path: &Path, vault: &Arc<TestVault>) -> Content {
    fill(&mut open_sealed(path, vault).unwrap().0)
}

/// How many of these lie in any file.
fn found(path: &Path, needles: &[Vec<u8>]) -> usize {
    let files = files_beside(path);
    let is_somewhere =
        |needle: &&Vec<u8>| files.values().any(|file| file.windows(needle.len()).any(|window| window == &needle[..]));
    needles.iter().filter(is_somewhere).count()
}

fn wrapped(store: &Store) -> Vec<u8> {
    read_wrapped(&store.conn).unwrap().unwrap()
}

/// Opens it `again` and again while the vault fails in each way, which must change no file.
fn fails_untouched(path: &Path, vault: &Arc<TestVault>) {
    for error in [VaultError::Locked, VaultError::Failed { reason: "busy".into() }] {
        vault.fails(Some(error.clone()));
        let before = files_beside(path);
        for _ in 0..2 {
            assert_eq!(open_sealed(path, vault).unwrap_err(), StoreError::Vault(error.clone()));
            assert!(files_beside(path) == before, "something was touched");
        }
    }
    vault.fails(None);
}

#[test]
fn a_new_store_with_a_vault_never_has_a_secret_in_its_files() {
    let ((_dir, path), vault) = (place(), vault());
    let (mut store, opened) = open_sealed(&path, &vault).unwrap();
    let content = fill(&mut store);
    let frame = store.identifiers().unwrap()[0].rpi.0.to_vec();
    assert_eq!((opened, found(&path, &content.secrets())), (Opened::New, 0), "in the log");
    let data_key = KeyVault::unwrap(&*vault, &wrapped(&store)).unwrap().to_vec();
    drop(store);
    assert_eq!((found(&path, &content.secrets()), found(&path, &[data_key])), (0, 0));
    assert_eq!((content.secrets().len(), found(&path, &[frame])), (82, 1), "the search finds what is not sealed");
    let (store, opened) = open_sealed(&path, &vault).unwrap();
    assert_eq!((Content::of(&store), opened), (content, Opened::Existing));
    assert!(!store.has_lost_keys().unwrap());
}

#[test]
fn a_store_that_meets_its_first_vault_is_sealed_and_nothing_of_before_stays() {
    let ((_dir, path), vault) = (place(), vault());
    let content = fill(&mut open(&path));
    let aside = files::set_aside_path(&path, NOW.unix_s());
    fs::copy(&path, &aside).unwrap();
    assert_eq!(found(&path, &content.secrets()), content.secrets().len(), "the search finds what is there");
    let (store, opened) = open_sealed(&path, &vault).unwrap();
    assert_eq!((found(&path, &content.secrets()), store.erasure_is_pending()), (0, Ok(false)));
    assert_eq!((Content::of(&store), opened, aside.exists()), (content, Opened::Existing, false));
    let data_key = wrapped(&store);
    drop(store);
    assert_eq!(wrapped(&open_sealed(&path, &vault).unwrap().0), data_key, "once");
}

#[test]
fn without_vacuum_and_truncation_bytes_of_before_the_seal_would_stay() {
    let (_dir, path) = place();
    let content = fill(&mut open(&path));
    let mut store = open(&path);
    let seal = Seal::generate(Some(&TestVault::default()), &mut rng(1)).unwrap();
    transact(&mut store.conn, |tx| seal_all(tx, &seal)).unwrap();
    assert_ne!(found(&path, &content.secrets()), 0);
    assert_eq!(store.finish_erasure(), Ok(Erasure::Done));
    assert_eq!(found(&path, &content.secrets()), 0);
}

#[test]
fn a_reader_holds_up_what_is_left_of_the_first_sealing_and_it_goes_on() {
    let ((_dir, path), vault) = (place(), vault());
    let content = fill(&mut open(&path));
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    let (mut store, _) = open_sealed(&path, &vault).unwrap();
    assert_eq!((store.erasure_is_pending(), Content::of(&store)), (Ok(true), content));
    drop(reader);
    assert_eq!(store.finish_erasure(), Ok(Erasure::Done));
    assert_eq!(found(&path, &Content::of(&store).secrets()), 0);
}

#[test]
fn a_sealed_store_without_a_vault_is_refused_and_left_as_it_is() {
    let ((_dir, path), vault) = (place(), vault());
    let content = sealed(&path, &vault);
    let before = files_beside(&path);
    assert_eq!(open_at(&path, NOW).unwrap_err(), StoreError::Sealed);
    assert!(files_beside(&path) == before);
    assert_eq!(Store::look(&path), Ok(Look::Sound { last_seen: None }), "a look needs none");
    assert_eq!(Content::of(&open_sealed(&path, &vault).unwrap().0), content);
}

#[test]
fn a_vault_that_is_locked_or_fails_changes_nothing_and_may_be_asked_again() {
    let ((_dir, new), vault) = (place(), vault());
    vault.fails(Some(VaultError::Locked));
    assert_eq!(open_sealed(&new, &vault).unwrap_err(), StoreError::Vault(VaultError::Locked));
    assert!(!new.exists());
    fails_untouched(&new, &vault);
    assert_eq!(open_sealed(&new, &vault).unwrap().1, Opened::New);

    let (_dir, plain) = place();
    let content = fill(&mut open(&plain));
    fs::copy(&plain, files::set_aside_path(&plain, NOW.unix_s())).unwrap();
    fails_untouched(&plain, &vault);
    assert_eq!(Content::of(&open_sealed(&plain, &vault).unwrap().0), content);
    fails_untouched(&plain, &vault);
    assert_eq!(Content::of(&open_sealed(&plain, &vault).unwrap().0), content);
}

#[test]
fn a_vault_that_has_lost_its_key_costs_what_was_sealed_and_nothing_else_and_it_is_said_until_it_was_taken() {
    let ((_dir, path), vault) = (place(), vault());
    let content = sealed(&path, &vault);
    let old = wrapped(&open_sealed(&path, &vault).unwrap().0);
    vault.loses_its_key();
    fails_untouched(&path, &vault);
    let (mut store, opened) = open_sealed(&path, &vault).unwrap();
    let left = Content { own_keys: vec![], outbox: vec![], notes: vec![None, None], ..content };
    assert_eq!((Content::of(&store), opened), (left, Opened::Existing));
    assert_eq!((store.has_lost_keys(), found(&path, &[old])), (Ok(true), 0));
    let sending = some_sending(NOW, &mut rng(8));
    store.keep_sending(&sending).unwrap();
    drop(store);
    let (mut store, _) = open_sealed(&path, &vault).unwrap();
    assert_eq!((store.has_lost_keys(), store.own_keys().unwrap()), (Ok(true), vec![sending.own]));
    store.forget_lost_keys().unwrap();
    drop(store);
    assert_eq!(open_sealed(&path, &vault).unwrap().0.has_lost_keys(), Ok(false));
}

#[test]
fn a_row_whose_seal_does_not_open_is_damage_and_costs_that_row_alone() {
    let spoilt = [
        "UPDATE own_keys SET key = zeroblob(44) WHERE id IN (7, 9)",
        "UPDATE own_keys SET key = (SELECT key FROM own_keys WHERE id = 8) WHERE id IN (7, 9)",
        "UPDATE own_keys SET key = zeroblob(16) WHERE id IN (7, 9)",
        "UPDATE outbox SET content = (SELECT content FROM outbox WHERE id = 4) WHERE id IN (5, 3)",
        "UPDATE outbox SET content = x'' WHERE id IN (5, 3)",
        "UPDATE notes SET content = (SELECT content FROM notes WHERE name = 'b') WHERE name = 'a'",
    ];
    for sql in spoilt {
        let ((_dir, path), vault) = (place(), vault());
        let mut content = sealed(&path, &vault);
        let (store, _) = open_sealed(&path, &vault).unwrap();
        let data_key = wrapped(&store);
        let spoilt = store.conn.execute(sql, []).unwrap();
        let met = [store.own_keys().err(), store.outbox().err(), store.note("a").err()];
        assert_eq!(met.into_iter().flatten().collect::<Vec<_>>(), [StoreError::Corrupt], "{sql}");
        drop(store);
        fails_untouched(&path, &vault);
        let (store, opened) = open_sealed(&path, &vault).unwrap();
        assert!(matches!(opened, Opened::Recovered { .. }), "{sql}: {opened:?}");
        assert_eq!((wrapped(&store), store.has_lost_keys()), (data_key, Ok(false)));
        // As after each damage, encounters and marks of files are left behind.
        (content.encounters, content.progress) = (0, None);
        assert_eq!(found(&path, &content.secrets()), 0, "what was set aside is sealed as well");
        let left = Content::of(&store);
        assert_eq!(content.secrets().len() - left.secrets().len(), spoilt, "{sql}");
        assert_eq!((left.exposures, left.alerts), (content.exposures, content.alerts));
        assert!(left.own_keys.iter().all(|own| content.own_keys.contains(own)));
        assert!(left.outbox.iter().all(|entry| content.outbox.contains(entry)));
    }
}

#[test]
fn damage_elsewhere_costs_no_sealed_row_and_waits_for_a_vault_that_is_locked() {
    for (has_lost_keys, keys_left) in [(false, 60), (true, 0)] {
        let ((_dir, path), vault) = (place(), vault());
        let content = sealed(&path, &vault);
        recovery::damage_encounters(&path);
        assert!(open_sealed(&path, &vault).unwrap().0.identifiers().is_err());
        assert_eq!(open_at(&path, NOW).unwrap_err(), StoreError::Sealed);
        fails_untouched(&path, &vault);
        if has_lost_keys {
            vault.loses_its_key();
        }
        let (store, opened) = open_sealed(&path, &vault).unwrap();
        assert!(matches!(opened, Opened::Recovered { own_keys, alerts: 1, .. } if own_keys == keys_left), "{opened:?}");
        assert_eq!(store.has_lost_keys(), Ok(has_lost_keys));
        let left = Content::of(&store);
        assert_eq!((left.exposures, left.alerts), (content.exposures, content.alerts));
        if !has_lost_keys {
            assert_eq!((left.own_keys, left.outbox, left.notes), (content.own_keys, content.outbox, content.notes));
        }
    }
}

#[test]
fn a_damaged_store_without_a_seal_is_salvaged_and_sealed_and_nothing_plain_is_set_aside() {
    let ((_dir, path), vault) = (place(), vault());
    let content = fill(&mut open(&path));
    recovery::damage_encounters(&path);
    assert!(open(&path).identifiers().is_err());
    let (store, opened) = open_sealed(&path, &vault).unwrap();
    assert!(matches!(opened, Opened::Recovered { own_keys: 60, .. }), "{opened:?}");
    assert_eq!((store.own_keys().unwrap(), store.outbox().unwrap()), (content.own_keys.clone(), content.outbox.clone()));
    assert_eq!(found(&path, &content.secrets()), 0);
}

#[test]
fn erasing_everything_makes_a_new_data_key_and_leaves_no_byte_of_the_old_one() {
    let ((_dir, path), vault) = (place(), vault());
    let content = sealed(&path, &vault);
    let (mut store, _) = open_sealed(&path, &vault).unwrap();
    let old = wrapped(&store);
    vault.fails(Some(VaultError::Locked));
    assert_eq!(store.erase_everything(&mut rng(7)), Err(StoreError::Vault(VaultError::Locked)));
    assert_eq!(Content::of(&store), content, "all of it, or nothing");
    vault.fails(None);
    assert_eq!(store.erase_everything(&mut rng(7)), Ok(Erasure::Done));
    let unwrapped = |wrapped: &[u8]| KeyVault::unwrap(&*vault, wrapped).unwrap();
    assert_ne!(unwrapped(&wrapped(&store)), unwrapped(&old));
    assert_eq!(found(&path, &[old]), 0);
    let content = fill(&mut store);
    drop(store);
    assert_eq!((found(&path, &content.secrets()), Content::of(&open_sealed(&path, &vault).unwrap().0)), (0, content));
}
