//! Sessions of PostgreSQL: what they are told, and how they end.

use vigie_backend::database::{Database, DatabaseError, Postgres, Transaction};

use crate::common::Postgresql;

#[test]
fn a_connection_that_was_lost_is_made_again_and_plans_are_never_kept() {
    let Some(server) = Postgresql::start() else { return };
    let mut database: Box<dyn Database> = Box::new(Postgres::connect(&server.new_database()).unwrap());
    let mut plans = || {
        database.run(|transaction: &mut dyn Transaction| {
            let rows = transaction.query("SHOW plan_cache_mode", &[])?;
            Ok::<_, DatabaseError>(rows[0].text(0)?.to_owned())
        })
    };
    assert_eq!(plans().unwrap(), "force_custom_plan");
    server.restart();
    // The first to come finds out.
    let _ = plans();
    assert_eq!(plans().unwrap(), "force_custom_plan");
}

#[test]
fn what_a_server_says_that_is_not_there_just_now_is_no_refusal() {
    let Some(server) = Postgresql::start() else { return };
    let mut database: Box<dyn Database> = Box::new(Postgres::connect(&server.new_database()).unwrap());
    let mut said = |code: &str| {
        let statement = format!("DO $$ BEGIN RAISE EXCEPTION 'so' USING ERRCODE = '{code}'; END $$");
        database.run(|transaction: &mut dyn Transaction| transaction.execute(&statement, &[])).unwrap_err()
    };
    // Ended by an administrator, by a crash; starting; full; a standby; a pooler without a server.
    for code in ["57P01", "57P02", "57P03", "53300", "25006", "08006"] {
        assert!(said(code).is_away(), "{code}");
    }
    // A row that is there already, a disk that is full, a statement that is none.
    for code in ["23505", "53100", "42601"] {
        assert!(!said(code).is_away(), "{code}");
    }
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    let ended = database.run(|transaction: &mut dyn Transaction| transaction.query(end, &[])).unwrap_err();
    assert!(ended.is_away(), "{ended}");
    server.stop();
    let ended = database.run(|transaction: &mut dyn Transaction| transaction.query("SELECT 1", &[])).unwrap_err();
    assert!(ended.is_away(), "{ended}");
}
