//! `vigie doctor` on a machine without a message bus, which every machine is when it is told of another one.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vigie::store::Store;
use vigie::time::{Clock, SystemClock};

use super::{Desk, Ran, vigie};

/// Runs it with a message bus that is not there, or the one at `bus`, and the user's data in the desk's folder.
fn doctor(desk: &Desk, bus: Option<&Path>, args: &str) -> Ran {
    let bus = bus.map_or_else(|| desk.path("no-bus"), Path::to_owned);
    let output = vigie()
        .current_dir(desk.folder.path())
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.display()))
        .env("XDG_DATA_HOME", desk.path("data"))
        .args(["doctor"].into_iter().chain(args.split_whitespace()))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn make_store(path: &Path) -> Store {
    let mut rng = <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::seed_from_u64(1);
    Store::open(path, SystemClock.now(), &mut rng).unwrap().0
}

#[test]
fn without_a_message_bus_it_says_so_and_touches_nothing() {
    let desk = Desk::new();
    let before = desk.names();
    let ran = doctor(&desk, None, "");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{}", ran.stdout);
    if cfg!(all(feature = "ble", target_os = "linux")) {
        assert!(ran.stdout.starts_with("bad      message bus: the system's message bus (D-Bus) does not run"), "{}", ran.stdout);
        assert!(ran.stdout.contains("\n         next: sudo systemctl start dbus"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("bluetoothd"), "what cannot be known is not told: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("data/vigie/store.db is not there yet"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'));
    assert_eq!(desk.names(), before);
    assert!(doctor(&desk, None, "--color always").stdout.contains("\u{1b}["));
}

#[test]
fn a_machine_reads_the_same() {
    let desk = Desk::new();
    let ran = doctor(&desk, None, "--json --store here.db");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &answer["state"]), (Some(1), &"bad".into()));
    let findings = answer["findings"].as_array().unwrap();
    for finding in findings {
        let state = finding["state"].as_str().unwrap();
        assert!(["ok", "caution", "bad"].contains(&state), "{finding}");
        assert!(finding["about"].is_string() && finding["found"].is_string(), "{finding}");
        assert_eq!(finding["next"].is_null(), state == "ok", "{finding}");
    }
    let about: Vec<_> = findings.iter().map(|finding| finding["about"].as_str().unwrap()).collect();
    let expected = if cfg!(all(feature = "ble", target_os = "linux")) { "message_bus" } else { "bluetooth" };
    assert_eq!(about, [expected, "clock", "store", "disk"]);
}

#[test]
fn a_store_is_looked_at_and_left_as_it_is() {
    let desk = Desk::new();
    let path = desk.path("here.db");
    let looked = |expected: &str| {
        let (names, bytes) = (desk.names(), fs::read(&path).unwrap());
        let ran = doctor(&desk, None, "--store here.db");
        assert!(ran.stdout.contains(expected), "{expected} is not in {}", ran.stdout);
        assert!((desk.names(), fs::read(&path).unwrap()) == (names, bytes), "{expected}: something was touched");
    };
    let store = make_store(&path);
    looked("caution  store: ");
    looked("in use by another process");
    drop(store);
    looked("here.db is in order");
    fs::write(desk.path("here.db-lock"), "damaged\n").unwrap();
    looked("here.db is damaged");
    fs::write(&path, "notes").unwrap();
    looked("something else than a store of Vigie");
}

#[cfg(unix)]
#[test]
fn a_store_that_others_may_read_is_a_caution() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let path = desk.path("here.db");
    drop(make_store(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = doctor(&desk, None, "--store here.db");
    assert!(ran.stdout.contains("caution  store permissions: other users may read"), "{}", ran.stdout);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "it was changed");
}

#[cfg(all(feature = "ble", target_os = "linux"))]
#[test]
fn a_message_bus_that_says_nothing_does_not_hold_it() {
    let desk = Desk::new();
    let bus = desk.path("silent-bus");
    let _listening = std::os::unix::net::UnixListener::bind(&bus).unwrap();
    let ran = doctor(&desk, Some(&bus), "");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("bad      message bus: the system's message bus (D-Bus) is there, and does not answer"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("clock: "), "the rest is told: {}", ran.stdout);
}

#[test]
fn wrong_use_is_an_error() {
    let desk = Desk::new();
    for args in ["--adaptor hci0", "--store", "hci0"] {
        assert_eq!(doctor(&desk, None, args).code, Some(2), "{args}");
    }
}
