//! What the tests of several languages share.
#![expect(clippy::panic, clippy::print_stderr, reason = "helpers of an integration test")]

use std::process::Command;

/// A language is missing here: said, and a failure where all of them have to be there.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Runs a program that ends with 0 where all of it holds.
pub(crate) fn passes(command: &mut Command) {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{}: {error}", command.get_program().to_string_lossy()),
    };
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    eprintln!("{said}");
}
