//! A database that came from an older version is as good as a new one.

use super::*;
use rusqlite::Connection;

/// A database of version 1, made as that version made it.
fn version_1(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    conn.execute_batch(include_str!("version_1.sql")).unwrap();
    conn.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    conn
}

/// All that a schema is, without comments and space.
fn shape(conn: &Connection) -> Vec<String> {
    let mut query = conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").unwrap();
    let rows = query.query_map([], |row| {
        let sql: Option<String> = row.get(3)?;
        let lines = sql.iter().flat_map(|sql| sql.lines()).map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
        Ok(format!("{} {} {} {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, words.join(" ")))
    });
    let pragmas = ["user_version", "application_id", "page_size", "auto_vacuum", "encoding", "journal_mode", "foreign_keys"].map(
        |pragma| {
            let value: rusqlite::types::Value = conn.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
            format!("{pragma} {value:?}")
        },
    );
    rows.unwrap().map(Result::unwrap).chain(pragmas).collect()
}

#[test]
fn a_migrated_database_equals_a_new_one_and_keeps_its_content() {
    let (_dir, path) = place();
    let conn = version_1(&path);
    conn.execute_batch(
        "INSERT INTO state (id, secret, clock_last_seen) VALUES (1, zeroblob(32), 77);
         INSERT INTO own_keys VALUES (4, x'000102030405060708090a0b0c0d0e0f', 2672352, 144, 2672360);
         INSERT INTO calibrations VALUES (1, 3, -20, 2);
         INSERT INTO encounters VALUES (9, zeroblob(20), 1603389600000, x'c0', 300, 0, 1);",
    )
    .unwrap();
    drop(conn);
    let (mut migrated, opened) = open_at(&path, NOW).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(schema::version(&migrated.conn), Ok(schema::VERSION));
    let (_dir_2, new) = place();
    assert_eq!(shape(&migrated.conn), shape(&open(&new).conn));
    assert_eq!(migrated.own_keys().unwrap()[0].highest_sent.unwrap().number(), 2_672_360);
    assert_eq!(migrated.clock_state().unwrap().unwrap().last_seen, Timestamp::from_unix_ms(77));
    assert_eq!(migrated.latest_packet().unwrap(), Some(NOW));
    migrated.record_matches(&[1; 32], HALF, &[some_exposure(NOW, &mut rng(1))], NOW).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap()[60..64],
        schema::VERSION.to_be_bytes(),
        "who looks at the file alone sees the version"
    );
    drop(migrated);
    assert_eq!(open(&path).exposures().unwrap().len(), 1);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let (_dir, path) = place();
    let conn = version_1(&path);
    conn.execute_batch("INSERT INTO state (id, secret) VALUES (1, zeroblob(32)); CREATE TABLE alerts (in_the_way);").unwrap();
    let before = shape(&conn);
    drop(conn);
    assert!(matches!(open_at(&path, NOW), Err(StoreError::Sqlite { .. })));
    assert_eq!(shape(&Connection::open(&path).unwrap()), before);
}

#[test]
fn the_whole_schema_is_in_the_first_page_new_or_migrated() {
    let ((_dir_1, new), (_dir_2, migrated)) = (place(), place());
    version_1(&migrated).execute_batch("INSERT INTO state (id, secret) VALUES (1, zeroblob(32))").unwrap();
    for path in [new, migrated] {
        drop(open(&path));
        // Behind the header of the database begins the table of all tables: 13 is a leaf, 5 would have pages below it (SQLite, "Database File Format", 1.6).
        assert_eq!(std::fs::read(&path).unwrap()[100], 13);
    }
}

/// Every value of the tables that version 1 had.
fn rows(conn: &Connection) -> Vec<String> {
    let rows = ["state", "own_keys", "calibrations", "encounters"].map(|table| {
        let mut query = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = query.column_count();
        let row = |row: &rusqlite::Row| (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column)).collect();
        let rows = query.query_map([], row).unwrap();
        rows.map(|row: rusqlite::Result<Vec<_>>| format!("{table} {:?}", row.unwrap())).collect::<Vec<_>>()
    });
    rows.concat()
}

#[test]
fn the_file_of_version_1_is_what_its_sql_makes_and_opens_with_all_it_holds_plain_and_sealed() {
    for vault in [None, Some(std::sync::Arc::new(TestVault::default()))] {
        let ((_dir, path), (_dir_2, made)) = (place(), place());
        std::fs::write(&path, include_bytes!("version_1.db")).unwrap();
        let (file, made) = (Connection::open(&path).unwrap(), version_1(&made));
        made.execute_batch(include_str!("version_1_content.sql")).unwrap();
        assert_eq!((shape(&file), rows(&file)), (shape(&made), rows(&made)));
        drop(file);

        let (store, opened) = match vault {
            None => open_at(&path, NOW).unwrap(),
            Some(vault) => Store::open_sealed(&path, vault, NOW, &mut rng(1)).unwrap(),
        };
        let own = store.own_keys().unwrap();
        assert_eq!((opened, own.len(), own[0].highest_sent), (Opened::Existing, 1, Some(NOW.interval())));
        assert_eq!(own[0].key.as_bytes()[..], (0..16).collect::<Vec<u8>>());
        assert_eq!((own[0].key.rolling_start(), own[0].key.rolling_period()), (NOW.interval().day_start(), 144));
        let heard = store.identifiers().unwrap().into_iter().map(|stored| store.encounter(stored.encounter).unwrap().unwrap());
        let heard: Vec<_> = heard.map(|e| (e.frame.rpi.0[0], e.packets.len(), e.measured_by, e.packets[0].rssi)).collect();
        let expected = [(0, 1, MeasuredBy::Us, -64), (0x11, 2, MeasuredBy::Peer, -70), (0x22, 1, MeasuredBy::Us, -90)];
        assert_eq!(heard, expected.map(|(byte, packets, by, rssi)| (byte, packets, by, Rssi(rssi))));
        assert_eq!(store.encounter(crate::encounters::EncounterId(8)).unwrap().unwrap().packets[1].rssi, Rssi(-71));
        assert_eq!((store.latest_packet(), store.clock_state().unwrap().unwrap().last_seen), (Ok(Some(NOW)), NOW));
    }
}
