//! The program as a user runs it: the town in `demo`, tracing in `run`, what a machine can do in `doctor`, key files in `keys`, recorded traffic in `traffic`, servers in `servers`, a real one in `backend`, the bulletin in `news`, a launch day in `first_start`.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

#[cfg(feature = "http")]
mod backend;
mod demo;
mod doctor;
mod first_start;
mod keys;
mod news;
mod run;
mod servers;
mod traffic;

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use vigie::diagnosis::SigningKey;

/// Two keys as google/exposure-notifications-server writes them. They end on 20 May 2020 at 15:30 and at 15:20.
const KEYS: &str = r#"{"temporaryExposureKeys": [
  {"key": "Fy/EgOWYSQw0F3YEM5sVQw==", "rollingStartNumber": 2649980, "rollingPeriod": 1, "transmissionRisk": 8},
  {"key": "K2MFOsSDI43hdhaehh89zQ==", "rollingStartNumber": 2649866, "rollingPeriod": 114, "reportType": "revoked"}
]}"#;

/// What would lead the program past the servers of the tests.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

fn vigie() -> Command {
    let mut command = Command::cargo_bin("vigie").unwrap();
    for name in PROXIES {
        command.env_remove(name);
    }
    command
}

/// A folder with keys.json, private.pem and public.pem, in which the program runs.
struct Desk {
    folder: tempfile::TempDir,
    public_key: String,
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signing_key = SigningKey::generate().unwrap();
        let public_key = signing_key.public_key().to_string();
        fs::write(folder.path().join("keys.json"), KEYS).unwrap();
        fs::write(folder.path().join("private.pem"), signing_key.to_pkcs8_pem().unwrap()).unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &public_key[..64], &public_key[64..]);
        fs::write(folder.path().join("public.pem"), pem).unwrap();
        Self { folder, public_key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &str) -> Ran {
        let output = vigie().current_dir(self.folder.path()).args(args.split_whitespace()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it, and wants the answer yes.
    fn yes(&self, args: &str) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args}: {}", ran.stderr);
        ran.stdout
    }

    /// Runs it, and wants an error that says all of `parts`.
    fn fails(&self, args: &str, parts: &[&str]) {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: "), "{args}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("backtrace"), "{args}: {}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{args}: {part} is not in {}", ran.stderr);
        }
    }

    /// Runs it with nobody reading what it says.
    fn ends_with_its_reader(&self, args: &str) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("vigie"));
        command.current_dir(self.folder.path()).args(args.split_whitespace()).stdout(writer).stderr(std::process::Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]), "{args}");
    }

    /// Everything that lies in the folder.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
