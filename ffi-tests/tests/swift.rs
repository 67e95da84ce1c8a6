//! Swift: every file is parsed, the public declarations are those that were reviewed, and where there is a compiler the package is compiled and run.
#![expect(clippy::panic, reason = "a helper of an integration test")]
#![expect(clippy::print_stderr, reason = "says what was skipped")]

use std::fs;
use std::path::PathBuf;

use ffi_tests::swift::{Parser, Programs, sources};
use ffi_tests::{Control, output, root};

/// What is missing is a failure where this variable is set, and otherwise named.
fn or_skipped<T>(found: anyhow::Result<T>, required_by: &str) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) if std::env::var_os(required_by).is_none() => {
            eprintln!("skipped: {error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn every_file_is_swift() {
    let Some(parser) = or_skipped(Parser::find(), "CI") else { return };
    let files = sources().unwrap();
    let has = |name: &str| files.iter().any(|file| file.ends_with(name));
    assert!(has("CoreBluetoothRadio.swift") && has("VigieFFI.swift") && has("Scenario.swift"), "{files:?}");
    parser.check(&files).unwrap();
}

#[test]
fn the_parser_sees_what_is_broken() {
    let Some(parser) = or_skipped(Parser::find(), "CI") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Broken.swift");
    let whole = fs::read_to_string(root().join("bindings/swift/Sources/Vigie/Vigie.swift")).unwrap();
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        parser.check(std::slice::from_ref(&file))
    };
    check(&whole).unwrap();
    // A brace that is missing, a word too many, a file that was cut off, and one that is another language.
    let last_brace = whole.rfind('}').unwrap();
    for broken in [
        &whole[..last_brace],
        &whole.replacen("func start", "func begin start", 1),
        &whole[..whole.len() / 2],
        "pub fn start() -> u8 {}",
    ] {
        assert!(check(broken).is_err(), "{broken}");
    }
}

#[test]
fn the_public_declarations_are_those_that_were_reviewed() {
    let Some(parser) = or_skipped(Parser::find(), "CI") else { return };
    let path = root().join("bindings/swift/api.txt");
    let own: Vec<PathBuf> =
        sources().unwrap().into_iter().filter(|file| file.starts_with(root().join("bindings/swift/Sources/Vigie"))).collect();
    let generated = root().join("bindings/swift/Sources/VigieFFI/VigieFFI.swift");
    let api = format!("# module Vigie\n{}\n# module VigieFFI\n{}", parser.api(&own).unwrap(), parser.api(&[generated]).unwrap());
    if std::env::var_os("VIGIE_GENERATE").is_some() {
        fs::write(&path, &api).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        reviewed == api,
        "{} is not what is public now: VIGIE_GENERATE=1 cargo test -p ffi-tests --test swift",
        path.display()
    );
}

#[test]
fn an_app_that_imports_vigie_has_every_type() {
    let Some(parser) = or_skipped(Parser::find(), "CI") else { return };
    let api = |path: &str| parser.api(&[root().join("bindings/swift/Sources").join(path)]).unwrap();
    let (own, generated) = (api("Vigie/Types.swift"), api("VigieFFI/VigieFFI.swift"));
    let declares = |line: &'_ str| {
        let (_, declared) = ["public struct ", "public enum ", "public protocol ", "open class "]
            .iter()
            .find_map(|kind| Some((kind, line.strip_prefix(kind)?)))?;
        Some(declared.split([':', ' ']).next().unwrap_or_default().to_owned())
    };
    // What the generator makes of an object beside its class, and the class that Vigie.swift stands before.
    let is_inner = |name: &String| name.ends_with("Protocol") || name.ends_with("Impl") || name == "Tracer";
    let names: Vec<String> = generated.lines().filter_map(declares).filter(|name| !is_inner(name)).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        assert!(own.lines().any(|line| line.ends_with(&format!(" = VigieFFI.{name}"))), "Types.swift lacks {name}");
    }
}

#[test]
fn the_characteristics_are_those_of_the_core() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (core, swift) = (read("core/src/radio/ble/mod.rs"), read("bindings/swift/Sources/Vigie/CoreBluetoothRadio.swift"));
    for (in_core, in_swift) in [("PAYLOAD_CHARACTERISTIC", "payload"), ("WRITE_BACK_CHARACTERISTIC", "writeBack")] {
        let line = core.lines().find(|line| line.contains(&format!("const {in_core}:"))).unwrap();
        let digits = line.split("0x").nth(1).unwrap().chars().filter(char::is_ascii_hexdigit).collect::<String>();
        let line = swift.lines().find(|line| line.contains(&format!("static let {in_swift} = CBUUID"))).unwrap();
        let uuid = line.split('"').nth(1).unwrap().replace('-', "");
        assert_eq!(uuid, digits, "{in_swift}");
    }
}

#[test]
fn the_package_passes_the_scenario_and_gives_each_error_its_name() {
    let Some(programs) = or_skipped(Programs::compile(), "VIGIE_REQUIRE_SWIFT") else { return };
    let control = Control::start().unwrap();
    let mut scenario = programs.command("Scenario").unwrap();
    control.equip(&mut scenario).unwrap();
    output(&mut scenario).unwrap();
    let text = output(programs.command("Errors").unwrap().env("VIGIE_ROOT", root())).unwrap();
    assert!(text.contains("errors ok"), "{text}");
}
