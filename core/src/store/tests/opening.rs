//! What opening refuses, and that it then leaves everything as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use rusqlite::Connection;

use super::*;

/// Every file beside a database, byte by byte.
pub(super) fn files_beside(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(&path).unwrap_or_default())).collect()
}

fn refused_untouched(path: &Path) -> StoreError {
    let before = files_beside(path);
    let error = open_at(path, NOW).unwrap_err();
    assert!(files_beside(path) == before, "something was touched");
    error
}

#[test]
fn a_store_is_new_once() {
    let (_dir, path) = place();
    assert_eq!(open_at(&path, NOW).unwrap().1, Opened::New);
    assert_eq!(open_at(&path, NOW).unwrap().1, Opened::Existing);
    let empty = path.with_file_name("empty.db");
    fs::write(&empty, "").unwrap();
    assert_eq!(open_at(&empty, NOW).unwrap().1, Opened::New, "an empty file is nothing");
    let names: Vec<_> = files_beside(&path).into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["empty.db", "empty.db-lock", "vigie.db", "vigie.db-lock"], "no litter");
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    let refused = || StoreError::NotAVigieStore { path: path.clone() };
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
    assert_eq!(refused_untouched(&path), refused(), "of another program, which has it open");
    conn.pragma_update(None, "application_id", 0x1234_5678).unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    drop(conn);
    assert_eq!(refused_untouched(&path), refused(), "of another program");
    for content in [&b"SQLite format 3\0"[..], &[0; 4096], &[0xFF; 50], b"notes"] {
        fs::write(&path, content).unwrap();
        assert_eq!(refused_untouched(&path), refused());
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(refused_untouched(&path), refused(), "a directory");
    let nowhere = path.with_file_name("none").join("vigie.db");
    assert_eq!(open_at(&nowhere, NOW).unwrap_err(), StoreError::Io { kind: std::io::ErrorKind::NotFound });
}

#[test]
fn each_flipped_bit_of_our_header_is_refused_or_opens_with_everything() {
    let (_dir, path) = place();
    let sending = some_sending(NOW, &mut rng(1));
    open(&path).keep_sending(&sending).unwrap();
    let good = fs::read(&path).unwrap();
    for bit in 0..800 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        match open_at(&path, NOW) {
            Ok((_, Opened::Recovered { own_keys, set_aside, .. })) => {
                // The size of pages, the format, the number of pages, the encoding: without them SQLite cannot read anything.
                assert!(
                    own_keys == 1
                        || (16..24).contains(&(bit / 8))
                        || (28..32).contains(&(bit / 8))
                        || (56..60).contains(&(bit / 8)),
                    "bit {bit}"
                );
                assert!(fs::read(set_aside).unwrap() == flipped, "bit {bit}");
            }
            Ok((store, opened)) => {
                assert_eq!((opened, store.own_keys().unwrap()), (Opened::Existing, vec![sending.own.clone()]), "bit {bit}");
            }
            Err(StoreError::NotAVigieStore { .. } | StoreError::NewerVersion { .. } | StoreError::Sqlite { .. }) => {
                assert!(fs::read(&path).unwrap() == flipped, "bit {bit}");
            }
            Err(e) => panic!("bit {bit}: {e:?}"),
        }
        for file in files_beside(&path).into_keys() {
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_newer_version_is_refused_even_where_only_the_log_says_it() {
    let (_dir, path) = place();
    let newer = StoreError::NewerVersion { found: 9, known: schema::VERSION };
    drop(open(&path));
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 9).unwrap();
    assert_eq!(open_at(&path, NOW).unwrap_err(), newer, "in the log");
    assert_eq!(conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), 9);
    drop(conn);
    assert_eq!(refused_untouched(&path), newer, "in the header");
}

#[test]
fn one_store_at_a_time() {
    let (_dir, path) = place();
    let mut store = open(&path);
    assert_eq!(open_at(&path, NOW).unwrap_err(), StoreError::InUse { path: path.clone() });
    store.keep_sending(&some_sending(NOW, &mut rng(1))).unwrap();
    drop(store);
    assert_eq!(open(&path).own_keys().unwrap().len(), 1);
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_then_said() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.keep_sending(&some_sending(NOW, &mut rng(1))), Err(StoreError::Locked));
    assert_eq!(store.own_keys().unwrap(), []);
    other.execute_batch("COMMIT").unwrap();
    store.keep_sending(&some_sending(NOW, &mut rng(1))).unwrap();
}

#[cfg(unix)]
#[test]
fn a_database_that_another_process_holds_exclusively_is_refused() {
    let (_dir, path) = place();
    if let Some(path) = std::env::var_os("VIGIE_TEST_OPEN_LOCKED") {
        // The second process: SQLite's locks do not hold within one.
        assert_eq!(open_at(Path::new(&path), NOW).unwrap_err(), StoreError::Locked);
        return;
    }
    drop(open(&path));
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE state SET erasure = 0; COMMIT").unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::opening::a_database_that_another_process_holds_exclusively_is_refused"])
        .env("VIGIE_TEST_OPEN_LOCKED", &path)
        .status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
#[test]
fn all_files_are_their_owners_alone_even_where_they_were_not() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = place();
    let modes = |path: &Path| {
        let modes = files_beside(path).into_keys().map(|file| fs::metadata(file).unwrap().permissions().mode() & 0o777);
        modes.collect::<Vec<_>>()
    };
    let mut store = open(&path);
    store.keep_sending(&some_sending(NOW, &mut rng(1))).unwrap();
    assert_eq!(modes(&path), [0o600; 4], "database, log, index of the log, lock");
    drop(store);
    for file in files_beside(&path).into_keys() {
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let store = open(&path);
    store.own_keys().unwrap();
    assert!(modes(&path).iter().all(|mode| *mode == 0o600), "{:?}", modes(&path));
}

#[cfg(unix)]
#[test]
fn without_permission_it_says_so_and_touches_nothing() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if let Some(path) = std::env::var_os("VIGIE_TEST_OPEN_DENIED") {
        assert_eq!(refused_untouched(Path::new(&path)), StoreError::NoPermission);
        return;
    }
    let (dir, path) = place();
    drop(open(&path));
    let before = files_beside(&path);
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "store::tests::opening::without_permission_it_says_so_and_touches_nothing"]);
    again.env("VIGIE_TEST_OPEN_DENIED", &path);
    for (directory, file) in [(0o755, 0o600), (0o555, 0o444), (0o555, 0o400)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(file)).unwrap();
        fs::set_permissions(path.with_file_name("vigie.db-lock"), fs::Permissions::from_mode(file)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(directory)).unwrap();
        // No permission keeps root out, so it is somebody else who tries.
        if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
            again.uid(65_534);
        }
        let done = match again.status() {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return std::io::stderr()
                    .write_all(
                        b"skipped: nobody else may run this test
",
                    )
                    .unwrap();
            }
            status => status.unwrap().success(),
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(done, "{directory:o} {file:o}");
        assert!(files_beside(&path) == before);
    }
}

#[test]
fn a_log_without_its_database_does_not_become_the_new_ones() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.keep_sending(&some_sending(NOW, &mut rng(1))).unwrap();
    let log = fs::read(files::sibling(&path, "-wal")).unwrap();
    drop(store);
    fs::remove_file(&path).unwrap();
    fs::write(files::sibling(&path, "-wal"), &log).unwrap();
    let (store, opened) = open_at(&path, NOW).unwrap();
    assert_eq!((opened, store.own_keys().unwrap()), (Opened::New, vec![]));
    assert_eq!(fs::read(files::sibling(&files::set_aside_path(&path, NOW.unix_s()), "-wal")).unwrap(), log);
}

#[test]
fn a_header_that_the_log_repairs_is_ours() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.set_clock_state(ClockState { last_seen: NOW, doubt: None }).unwrap();
    store.conn.execute_batch(&format!("PRAGMA user_version = {}; VACUUM", schema::VERSION)).unwrap();
    let (mut main, log) = (fs::read(&path).unwrap(), fs::read(files::sibling(&path, "-wal")).unwrap());
    drop(store);
    main[..512].fill(0xA5);
    fs::write(&path, &main).unwrap();
    assert_eq!(refused_untouched(&path), StoreError::NotAVigieStore { path: path.clone() }, "without the log");
    fs::write(files::sibling(&path, "-wal"), &log).unwrap();
    let (store, opened) = open_at(&path, NOW).unwrap();
    assert_eq!((opened, store.clock_state().unwrap().unwrap().last_seen), (Opened::Existing, NOW));
}
