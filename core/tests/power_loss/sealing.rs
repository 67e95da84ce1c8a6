//! The first sealing of a store that was plain, and the loss of its key, cut at every point: all that was there is there afterwards, or all that
//! the lost key leaves, and once an opening has gone through no file holds what was to be sealed.

use std::sync::Arc;

use vigie::store::{Erasure, KeyVault, VaultError};
use zeroize::Zeroizing;

use super::*;

/// A vault that keeps what it wraps, and gives a number for it that never comes again.
#[derive(Default)]
struct Drawer(Mutex<Vec<Option<[u8; 32]>>>);

impl KeyVault for Drawer {
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, VaultError> {
        let mut keys = self.0.lock().unwrap();
        keys.push(Some(*data_key));
        Ok((keys.len() as u32).to_be_bytes().to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let number = u32::from_be_bytes(wrapped.try_into().unwrap()) as usize;
        self.0.lock().unwrap()[number - 1].map(Zeroizing::new).ok_or(VaultError::KeyLost)
    }
}

fn open_sealed(path: &Path, vault: &Arc<Drawer>) -> Result<(Store, Opened), StoreError> {
    let seed = vault.0.lock().unwrap().len() as u64;
    Store::open_sealed(path, vault.clone(), START, &mut ChaCha20Rng::seed_from_u64(seed))
}

/// A plain store with 60 steps behind it and no vault yet, or a sealed one whose vault has lost its key.
struct Scene {
    files: BTreeMap<String, Vec<u8>>,
    vault: Arc<Drawer>,
    /// Once it is open.
    expected: Content,
    /// What must lie in no file then.
    secrets: Vec<Vec<u8>>,
}

impl Scene {
    fn new(loses_keys: bool) -> Self {
        let (dir, vault) = (directory(), Arc::new(Drawer::default()));
        let path = dir.path().join("store");
        let mut store = if loses_keys { open_sealed(&path, &vault).unwrap().0 } else { open(&path).unwrap().0 };
        (0..60).for_each(|step| take_step(&mut store, step).unwrap());
        let mut expected = Content::of(&store).unwrap();
        let keys = expected.own_keys.iter().map(|own| own.key.as_bytes().to_vec());
        let contents = expected.outbox.iter().map(|entry| entry.content[..16].to_vec());
        let secrets: Vec<_> = keys.chain(contents).chain(expected.note.iter().map(|note| note[..16].to_vec())).collect();
        assert!(secrets.len() > 10, "{}", secrets.len());
        drop(store);
        if loses_keys {
            expected = Content { own_keys: vec![], outbox: vec![], note: None, ..expected };
            vault.0.lock().unwrap().fill(None);
        }
        Self { files: files_in(dir.path()), vault, expected, secrets }
    }

    /// How a disk is judged on which the opening was cut; `Err` says what is wrong.
    fn judge(&self, dir: &Path) -> Result<(), String> {
        let path = dir.join("store");
        let (mut store, opened) = open_sealed(&path, &self.vault).map_err(|e| format!("does not open: {e}"))?;
        let content = Content::of(&store).map_err(|e| format!("cannot be read: {e}"))?;
        if (opened, &content) != (Opened::Existing, &self.expected) {
            return Err("holds something else".into());
        }
        if store.finish_erasure() == Ok(Erasure::Pending) || self.secrets.iter().any(|secret| holds(dir, secret)) {
            return Err("bytes of before the seal are still there".into());
        }
        drop(store);
        match open(&path) {
            Err(StoreError::Sealed) => Ok(()),
            other => Err(format!("opens without a vault: {:?}", other.map(|(_, opened)| opened))),
        }
    }
}

/// What SQLite asks of the disk while the scene is opened.
fn record_opening(scene: &Scene) -> Vec<Op> {
    let dir = directory();
    lay_out(dir.path(), &scene.files);
    vfs::watch(dir.path(), None);
    drop(open_sealed(&dir.path().join("store"), &scene.vault).unwrap());
    vfs::unwatch().0
}

fn violations(scene: &Scene, ops: &[Op], seeds: u64, syncs_count: bool) -> Vec<String> {
    let (dir, mut found) = (directory(), Vec::new());
    for moment in 0..=ops.len() {
        for seed in 0..seeds {
            lay_out(dir.path(), &disk::after(&scene.files, &ops[..moment], seed, syncs_count));
            if let Err(violation) = scene.judge(dir.path()) {
                found.push(format!("operation {moment} of {}, seed {seed}: {violation}", ops.len()));
            }
        }
    }
    found
}

#[test]
fn power_that_goes_while_a_store_is_sealed_or_has_lost_its_key_costs_nothing_and_leaves_nothing() {
    let _guard = ONE_AT_A_TIME.lock();
    vfs::register();
    for loses_keys in [false, true] {
        let scene = Scene::new(loses_keys);
        let ops = record_opening(&scene);
        assert!(ops.len() > 30, "{}", ops.len());
        let found = violations(&scene, &ops, 6, true);
        assert!(found.is_empty(), "{}: {:#?}", found.len(), &found[..found.len().min(5)]);
        let found = violations(&scene, &ops, 1, false);
        assert!(found.len() > 5, "without syncs only {} images show a loss", found.len());
    }
}

#[test]
fn each_input_output_call_of_a_first_sealing_may_fail_and_the_next_opening_goes_on() {
    let _guard = ONE_AT_A_TIME.lock();
    vfs::register();
    for loses_keys in [false, true] {
        let scene = Scene::new(loses_keys);
        let dir = directory();
        let path = dir.path().join("store");
        let run = |fault: Option<Fault>| {
            lay_out(dir.path(), &scene.files);
            vfs::watch(dir.path(), fault);
            let opened = open_sealed(&path, &scene.vault).map(drop);
            let calls = vfs::unwatch().1;
            assert_ne!(opened, Err(StoreError::Corrupt), "{fault:?}: a failing disk is not a damaged database");
            scene.judge(dir.path()).unwrap_or_else(|violation| panic!("{fault:?}, after {opened:?}: {violation}"));
            (calls, opened.is_err())
        };
        let calls = run(None).0;
        let faults = (0..calls).flat_map(|at| [false, true].map(|full| Some(Fault { at, full })));
        let failed = faults.filter(|fault| run(*fault).1).count();
        assert!(failed > calls / 4, "{failed} of {calls} calls");
    }
}
