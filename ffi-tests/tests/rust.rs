//! The scenario in Rust.

use std::process::Command;

use ffi_tests::Control;

#[test]
fn the_scenario_passes() {
    let control = Control::start().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scenario"));
    control.equip(&mut command).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}
