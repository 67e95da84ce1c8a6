//! No sign-up that was acknowledged is lost, and none is there by half, when the server's power goes, at any moment.
//!
//! The recorder and the disks are those of the library's own test (`core/tests/power_loss`). SIGKILL would show none of this: what a killed process has
//! written, the system keeps.

#![allow(clippy::unwrap_used)]

#[path = "../../../../core/tests/power_loss/disk.rs"]
mod disk;
#[path = "../../../../core/tests/power_loss/vfs.rs"]
mod vfs;

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vfs::Op;
use vigie::courier::waitlist::{OperationId, ReceiptSigner, SEALED_LEN, SealedForm, SecretHash};
use vigie::time::Timestamp;
use vigie_backend::database::{Database, DatabaseError, Sqlite, Transaction};
use vigie_backend::rules::{self, SignUp};

const NOW: Timestamp = Timestamp::from_unix_s(1_619_013_600);

const GROUPS: usize = 100;

/// All sign-ups and all tasks: their places, operations and forms.
type Content = (Vec<Vec<u8>>, Vec<Vec<u8>>);

fn content(database: &mut dyn Database) -> Result<Content, DatabaseError> {
    let rows = |transaction: &mut dyn Transaction, statement: &str| -> Result<Vec<Vec<u8>>, DatabaseError> {
        let rows = transaction.query(statement, &[])?;
        rows.iter().map(|row| Ok([&row.integer(0)?.to_be_bytes()[..], row.bytes(1)?, row.bytes(2)?].concat())).collect()
    };
    database.run(|transaction| {
        let sign_ups = rows(transaction, "SELECT place, operation_id, sealed FROM sign_up ORDER BY place")?;
        Ok((sign_ups, rows(transaction, "SELECT place, operation_id, operation_id FROM task ORDER BY place")?))
    })
}

fn sign_up(rng: &mut ChaCha20Rng) -> SignUp {
    let mut form = SealedForm { key_id: "v1".into(), encapsulated: [0; 32], sealed: vec![0; SEALED_LEN] };
    let (mut operation, mut secret) = ([0; 16], [0; 32]);
    rng.fill_bytes(&mut form.sealed);
    rng.fill_bytes(&mut operation);
    rng.fill_bytes(&mut secret);
    SignUp { operation: OperationId(operation), form, secret_hash: SecretHash(secret), repeat_hash: None }
}

struct Record {
    before: BTreeMap<String, Vec<u8>>,
    ops: Vec<Op>,
    /// After how many operations of the disk each group was acknowledged, and what there was then.
    acknowledged: Vec<(usize, Content)>,
}

/// Groups as they come in a crowd: of one and of many, with repeats of earlier ones.
fn record() -> Record {
    vfs::register();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backend.sqlite");
    vfs::watch(folder.path(), None);
    let mut database: Box<dyn Database> = Box::new(Sqlite::open(&path).unwrap());
    let before = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (!name.ends_with("-shm")).then(|| (name, std::fs::read(entry.path()).unwrap()))
    });
    let before = before.collect();
    vfs::forget();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let mut acknowledged = vec![(0, content(&mut *database).unwrap())];
    // PKCS#8 of RFC 8410, and a seed.
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let signer = ReceiptSigner::from_pkcs8("v1", &[&head[..], &[7; 32]].concat()).unwrap();
    let mut last = sign_up(rng);
    for _ in 0..GROUPS {
        let mut group: Vec<SignUp> = (0..1 + rng.next_u32() % 12).map(|_| sign_up(rng)).collect();
        group.push(last);
        let answers =
            database.run(|transaction| rules::receive(transaction, &group.iter().collect::<Vec<_>>(), &signer, NOW)).unwrap();
        assert!(answers.iter().all(Result::is_ok));
        acknowledged.push((vfs::recorded(), content(&mut *database).unwrap()));
        last = group.swap_remove(0);
    }
    drop(database);
    Record { before, ops: vfs::unwatch().0, acknowledged }
}

/// What is wrong with a disk.
fn judge(record: &Record, moment: usize, files: &BTreeMap<String, Vec<u8>>, folder: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let path = folder.join("backend.sqlite");
    let mut database: Box<dyn Database> = Box::new(Sqlite::open(&path).map_err(|e| format!("does not open: {e}"))?);
    let found = content(&mut *database).map_err(|e| format!("cannot be read: {e}"))?;
    if found.0.len() != found.1.len() {
        return Err(format!("{} sign-ups have {} tasks", found.0.len(), found.1.len()));
    }
    let last = record.acknowledged.partition_point(|(ops, _)| *ops <= moment) - 1;
    if !record.acknowledged[last..].iter().take(2).any(|(_, content)| *content == found) {
        return Err(format!("holds neither what was acknowledged after group {last} nor the next group with it"));
    }
    drop(database);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_else(|e| e.to_string());
    if verdict == "ok" { Ok(()) } else { Err(verdict) }
}

fn violations(record: &Record, images: usize, syncs_count: bool) -> Vec<String> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut found = Vec::new();
    for image in 0..images {
        let moment = 1 + image * (record.ops.len() - 1) / images;
        let files = disk::after(&record.before, &record.ops[..moment], image as u64, syncs_count);
        if let Err(violation) = judge(record, moment, &files, folder.path()) {
            found.push(format!("operation {moment}, image {image}: {violation}"));
        }
    }
    found
}

#[test]
fn no_acknowledged_sign_up_is_lost_and_none_is_half_when_the_power_goes_and_missing_syncs_would_be_seen() {
    let record = record();
    let found = violations(&record, 2_100, true);
    assert!(found.is_empty(), "{} of 2,100 images: {:#?}", found.len(), &found[..found.len().min(5)]);
    // The same with synchronous=OFF, which is: no sync at all.
    let found = violations(&record, 200, false);
    assert!(found.len() > 50, "without syncs only {} of 200 images show a loss", found.len());
}
