//! The bindings from Python.
#![expect(clippy::unwrap_used, reason = "a helper of tests")]

mod common;

use std::fs;
use std::process::Command;

use common::{passes, skipped};
use ffi_tests::{Control, output, python, root};

fn is_there() -> bool {
    let is_there = Command::new("python3").arg("-c").arg("import sys; sys.exit(sys.version_info < (3, 10))").status();
    let is_there = is_there.is_ok_and(|status| status.success());
    if !is_there {
        skipped("Python 3.10 or newer is not installed (Debian: python3)");
    }
    is_there
}

/// Runs a program of `ffi-tests/python` beside a backend.
fn run(program: &str) {
    if !is_there() {
        return;
    }
    let (control, folder) = (Control::start().unwrap(), tempfile::tempdir().unwrap());
    let mut command = python(program, folder.path()).unwrap();
    control.equip(&mut command).unwrap();
    passes(&mut command);
}

#[test]
fn the_scenario_passes() {
    run("scenario.py");
}

#[test]
fn an_app_sees_each_error_and_nothing_is_left_afterwards() {
    run("errors.py");
}

/// What Python can see of the library, so that every change of it shows in review.
#[test]
fn the_surface_is_the_one_that_was_reviewed() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let surface = output(&mut python("api.py", folder.path()).unwrap()).unwrap();
    let path = root().join("bindings/python/api.txt");
    if std::env::var_os("VIGIE_GENERATE").is_some() {
        fs::write(&path, &surface).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == surface,
        "{} is not the surface now: VIGIE_GENERATE=1 cargo test -p ffi-tests --test python surface",
        path.display()
    );
}
