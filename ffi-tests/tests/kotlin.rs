//! Kotlin on the JVM, through the real library.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests that skip and measure say so, and their helpers"
)]

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ffi_tests::kotlin::Toolchain;
use ffi_tests::{Control, cache, root};
use vigie_ffi::{Advertisement, Config, ManualClock, Radio, RadioError, RadioSink, ScanResult, Tracer};

/// 22 October 2020, 18:00 UTC.
const NOW_MS: i64 = 1_603_389_600_000;

/// How many scan results are handed in, and how many at once.
const RESULTS: usize = 100_000;
const BATCH: usize = 100;

/// How often something is measured.
const ROUNDS: usize = 9;

/// The compiler, where it is to be had; named as skipped where it is not, unless this is CI.
fn toolchain() -> Option<Toolchain> {
    match Toolchain::find() {
        Ok(toolchain) => Some(toolchain),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error:#}"),
        Err(error) => {
            eprintln!("skipped: Kotlin: {error:#}");
            None
        }
    }
}

/// Runs one of the programs below `ffi-tests/kotlin`, with a backend at hand; gives what it writes. `None` where it is skipped.
fn run(main: &str) -> Option<String> {
    let toolchain = toolchain()?;
    let bindings = toolchain.bindings().unwrap();
    let programs = cache("kotlin").unwrap().join("tests.jar");
    toolchain.compile(&[root().join("ffi-tests/kotlin")], &bindings, &programs).unwrap();

    let control = Control::start().unwrap();
    // It equips a command, of which the environment is wanted here.
    let mut equipped = Command::new("java");
    control.equip(&mut equipped).unwrap();
    let environment = equipped.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_owned())));
    let environment: Vec<(&str, OsString)> = environment.chain([("VIGIE_ROOT", root().as_os_str().to_owned())]).collect();
    let written = toolchain.run(&[vec![programs], bindings].concat(), &format!("vigie.tests.{main}"), &environment, &[]).unwrap();
    print!("{written}");
    Some(written)
}

#[test]
fn the_scenario_passes() {
    let Some(written) = run("ScenarioKt") else { return };
    let scenario = fs::read_to_string(root().join("ffi-tests/scenario.txt")).unwrap();
    for name in scenario.lines().filter_map(|line| line.strip_prefix("scene ")) {
        assert!(written.contains(&format!("scene {name} ok\n")), "{written}");
    }
}

#[test]
fn every_error_panic_and_cancellation_arrives_as_an_app_is_told() {
    let Some(written) = run("ErrorsKt") else { return };
    assert!(written.contains(" tests, 0 failed\n"), "{written}");
}

#[test]
fn the_cost_of_the_boundary_is_measured() {
    let Some(written) = run("SpeedKt") else { return };
    let figure = |name: &str| -> f64 {
        let line = written.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (kotlin, rust) = (figure("scan result, from Kotlin, us:"), rust_microseconds_each());
    println!("scan result, from Rust, us: {rust:.3}");
    println!("scan result, the boundary alone, us: {:.3} (goal: below 2)", kotlin - rust);
    println!("start to first advertisement, ms: {:.2} (goal: below 50)", figure("start to first advertisement, ms:"));
}

/// What Kotlin can see of the library, so that every change of it shows in review.
#[test]
fn the_surface_is_the_one_that_was_reviewed() {
    let Some(toolchain) = toolchain() else { return };
    let bindings = toolchain.bindings().unwrap();
    let surface = toolchain.surface(&bindings, |package, _| matches!(package, "vigie" | "vigie.ffi")).unwrap();
    let path = root().join("bindings/kotlin/api.txt");
    if std::env::var_os("VIGIE_GENERATE").is_some() {
        fs::write(&path, &surface).unwrap();
    }
    if fs::read_to_string(&path).unwrap_or_default() != surface {
        panic!("{} is not the surface now: VIGIE_GENERATE=1 cargo test -p ffi-tests --test kotlin surface", path.display());
    }
}

/// The same work that `Speed.kt` does, without a boundary: the median of several rounds.
fn rust_microseconds_each() -> f64 {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| runtime.block_on(rust_round())).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

async fn rust_round() -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let config = Config {
        store_path: path("store"),
        downloads_path: path("downloads"),
        servers_json: None,
        exposure_json: None,
        calibration: None,
        scanning: None,
        service_uuid: None,
    };
    let radio = Arc::new(SinkKeeper::default());
    let tracer = Tracer::open(config, Some(radio.clone()), None, None, Some(ManualClock::new(NOW_MS))).await.unwrap();
    tracer.start().await.unwrap();
    let sink = radio.0.lock().unwrap().clone().unwrap();
    let began = Instant::now();
    for batch in 0..RESULTS / BATCH {
        let result = |number: usize| {
            let mut service_data = vec![0; 20];
            service_data[..4].copy_from_slice(&u32::try_from((batch * BATCH + number) % 1_000).unwrap().to_be_bytes());
            ScanResult { service_data, rssi: -60, at_ms: NOW_MS, peer: None }
        };
        sink.heard((0..BATCH).map(result).collect());
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(RESULTS).unwrap());
    tracer.shut_down().await;
    each
}

/// Does nothing but to keep its sink.
#[derive(Default)]
struct SinkKeeper(Mutex<Option<Arc<RadioSink>>>);

impl Radio for SinkKeeper {
    fn attach(&self, sink: Arc<RadioSink>) {
        *self.0.lock().unwrap() = Some(sink);
    }

    fn detach(&self) {}

    fn start_scanning(&self, _: Vec<u16>) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop_scanning(&self) {}

    fn advertise(&self, _: Advertisement) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop_advertising(&self) {}

    fn exchange(&self, _: String, _: u16, _: Vec<u8>) -> Result<Vec<u8>, RadioError> {
        Ok(Vec::new())
    }
}
