//! What a session of PostgreSQL is told when it begins, and again where it was lost.

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
