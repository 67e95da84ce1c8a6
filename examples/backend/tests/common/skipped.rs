//! Small things that several tests need.

use std::net::TcpListener;

/// Says that something is not tested here. `.ci/run` (`CI`) installs what is needed, so there it is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not to be skipped: {why}");
    eprintln!("skipped: {why}");
}

/// On which nothing listens just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
