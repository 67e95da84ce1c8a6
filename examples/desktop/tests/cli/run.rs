//! `vigie run`, on a machine whose Bluetooth, if it has any, is not asked for anything: what holds with and without an adapter.
#![cfg(all(target_os = "linux", feature = "ble"))]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};
use vigie::store::{Opened, Store};
use vigie::time::{Clock, SystemClock, Timestamp};

use super::Desk;

/// An adapter that no machine has, so that nothing is sent while the tests run.
const ADAPTER: &str = "--adapter hci99";

/// The view is drawn again each second, so a screen that stays as it is for so long has no more to say.
const PATIENCE_S: i64 = 120;

/// The size of that screen.
const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// The program while it traces.
pub(super) struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Desk {
    /// Starts `vigie run` in the folder of the desk, which is also the user's.
    pub(super) fn start(&self, args: &str) -> Running {
        let mut command = Command::new(cargo_bin("vigie"));
        command.arg("run").args(ADAPTER.split_whitespace()).args(args.split_whitespace());
        command.current_dir(self.folder.path()).env("XDG_DATA_HOME", self.path("data")).env("HOME", self.folder.path());
        super::PROXIES.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    fn encounters(&self, name: &str) -> u64 {
        let (store, opened) = Store::open(&self.path(name), SystemClock.now(), &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        assert_eq!(opened, Opened::Existing);
        store.count_encounters(Timestamp::from_unix_ms(i64::MIN)..Timestamp::from_unix_ms(i64::MAX)).unwrap()
    }
}

impl Running {
    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// The next event of this name.
    pub(super) fn event(&mut self, name: &str) -> Value {
        self.one_of(&[name])
    }

    /// The next event of one of these names.
    pub(super) fn one_of(&mut self, names: &[&str]) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line()).unwrap();
            assert!(event["time"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{event}");
            if names.iter().any(|name| event["event"] == *name) {
                return event;
            }
        }
    }

    /// Ends it as the system does, and wants everything to be written. Gives the last event.
    pub(super) fn terminate(self) -> Value {
        self.signal(Signal::TERM);
        let (code, last) = self.end();
        assert_eq!(code, Some(0));
        serde_json::from_str(&last).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and gives the exit code and the last line.
    fn end(mut self) -> (Option<i32>, String) {
        let last = self.lines.by_ref().map(Result::unwrap).last().unwrap();
        let code = self.child.wait().unwrap().code();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(!errors.contains("panicked"), "{errors}");
        (code, last)
    }
}

/// The program in a terminal of its own, without the window: what is to be seen there, and what is typed.
struct Windowless {
    child: Child,
    window: File,
    terminal: File,
    seen: vt100::Parser,
}

impl Desk {
    fn start_in_a_terminal(&self) -> Windowless {
        let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&window).unwrap();
        unlockpt(&window).unwrap();
        tcsetwinsize(&window, Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&window, Vec::new()).unwrap().into_string().unwrap();
        let terminal = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut command = Command::new(cargo_bin("vigie"));
        command.current_dir(self.folder.path()).args(["run", "--store", "store.db"]).args(ADAPTER.split_whitespace());
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let child = command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap();
        Windowless { child, window: window.into(), terminal: terminal(), seen: vt100::Parser::new(ROWS, COLUMNS, 0) }
    }
}

impl Windowless {
    /// Waits until these words are to be seen. Only what differs is drawn, so they may never be written in one piece.
    fn wait_for(&mut self, words: &str) {
        self.wait_until(words, |screen| screen.contents().contains(words));
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let mut piece = [0; 4096];
        while !is_so(self.seen.screen()) {
            let mut ready = [PollFd::new(&self.window, PollFlags::IN)];
            let count = poll(&mut ready, Some(&Timespec { tv_sec: PATIENCE_S, tv_nsec: 0 })).unwrap();
            assert!(count > 0, "no {what} on the screen:\n{}", self.seen.screen().contents());
            let length = self.window.read(&mut piece).unwrap();
            self.seen.process(&piece[..length]);
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

#[test]
fn the_view_takes_the_terminal_and_gives_it_back_when_q_is_pressed() {
    let desk = Desk::new();
    let mut running = desk.start_in_a_terminal();
    running.wait_for("Exposures");
    assert!(running.is_raw());
    running.window.write_all(b"?").unwrap();
    running.wait_for("Ctrl-C");
    running.window.write_all(b"q").unwrap();
    running.wait_until("end of the view", |screen| !screen.alternate_screen());
    running.wait_for("are kept in store.db");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(!running.is_raw());
}

#[test]
fn a_window_that_is_closed_ends_the_view_and_everything_is_written() {
    let desk = Desk::new();
    let mut running = desk.start_in_a_terminal();
    running.wait_for("Exposures");
    let Windowless { mut child, window, terminal, .. } = running;
    drop((window, terminal));
    // It is not the window's own process, so no SIGHUP comes, and losing the terminal is an error.
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(!desk.path("store.db-wal").exists(), "the store was closed");
    assert_eq!(desk.encounters("store.db"), 0);
}

#[test]
fn json_events_begin_with_what_it_does_and_end_after_sigterm_with_what_was_kept() {
    let desk = Desk::new();
    let mut running = desk.start("--json --store store.db --connectable --continuous");
    let started: Value = serde_json::from_str(&running.line()).unwrap();
    for (field, expected) in [
        ("event", json!("started")),
        ("adapter", json!("hci99")),
        ("advertise_adapter", Value::Null),
        ("service_uuid", json!("0xFD64")),
        ("is_connectable", json!(true)),
        ("is_continuous", json!(true)),
        ("store", json!("store.db")),
        ("keys", Value::Null),
    ] {
        assert_eq!(started[field], expected, "{field}");
    }
    // Without an adapter of that name, why it does not trace.
    assert!(!running.event("radio_failed")["reason"].as_str().unwrap().is_empty());

    running.signal(Signal::TERM);
    let (code, last) = running.end();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((code, &last["event"], &last["encounters"]), (Some(0), &"stopped".into(), &0.into()));
    assert_eq!(desk.encounters("store.db"), 0);
}

#[test]
fn plain_lines_have_the_time_and_the_last_one_after_ctrl_c_says_what_was_kept() {
    let desk = Desk::new();
    let mut running = desk.start("--plain");
    let first = running.line();
    let (time, text) = first.split_once("  ").unwrap();
    assert!(time.parse::<Timestamp>().is_ok(), "{first}");
    assert!(text.starts_with("starting on hci99, service 0xFD64; listens for 4 s every 3.5 to 5 minutes"), "{first}");

    // Somebody who presses it again while it stops changes nothing.
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    let (code, last) = running.end();
    assert_eq!(code, Some(0));
    assert!(last.contains("stopped: 0 encounters of today and 0 in all are kept in "), "{last}");

    // Nobody named a store: it is the user's, and nobody else's.
    let folder = desk.path("data/vigie");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(desk.encounters("data/vigie/store.db"), 0);
}

#[test]
fn key_files_are_checked_as_they_arrive_and_a_bad_one_blocks_none() {
    let desk = Desk::new();
    desk.yes("keys make --keys keys.json --private-key private.pem --out keys.zip --no-embargo");
    fs::create_dir(desk.path("incoming")).unwrap();
    fs::write(desk.path("incoming/bad.zip"), "no keys").unwrap();
    let mut running = desk.start("--json --store store.db --keys incoming --public-key public.pem");
    let bad = running.event("key_file");
    assert_eq!((&bad["file"], &bad["status"], &bad["keys"]), (&"bad.zip".into(), &"refused".into(), &0.into()));
    assert!(bad["reason"].as_str().unwrap().contains("ZIP"), "{bad}");

    fs::copy(desk.path("keys.zip"), desk.path("incoming/keys.zip")).unwrap();
    let good = running.event("key_file");
    assert_eq!((&good["file"], &good["status"], &good["keys"]), (&"keys.zip".into(), &"matched".into(), &2.into()));
    running.signal(Signal::HUP);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_it_and_the_store_opens_afterwards() {
    let desk = Desk::new();
    desk.ends_with_its_reader(&format!("run {ADAPTER} --json --store store.db"));
    assert_eq!(desk.encounters("store.db"), 0);
}

#[test]
fn a_store_in_use_and_options_that_make_no_sense_are_errors() {
    let desk = Desk::new();
    let mut running = desk.start("--json --store store.db");
    running.event("started");
    desk.fails("run --adapter hci99 --store store.db", &["store.db cannot be used", "in use by another process", "next: "]);
    running.terminate();
    for (args, part) in [
        ("run --store nowhere/store.db", "nowhere/store.db cannot be used"),
        ("run --keys incoming --public-key public.pem", "there is no folder incoming"),
        ("run --keys incoming", "--public-key"),
        ("run --public-key public.pem", "--keys"),
        ("run --plain --json", "--json"),
        ("run --model A-1", "--calibration"),
        ("run --service-uuid fd6", "fd6"),
    ] {
        desk.fails(args, &[part]);
    }
}
