//! Swift: compiled and run where there is a compiler, and parsed everywhere.
//!
//! The parser is tree-sitter's, from PyPI at one version, in an environment of its own below the target folder. It knows no types: what it reads may still
//! not compile. It also lists the public declarations, so that a change of the surface is seen in review.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::{cache, library, root};

/// The parser and its grammar.
const PACKAGES: [&str; 2] = ["tree-sitter==0.26.1", "tree-sitter-swift==0.7.4"];

/// Where Swift lies that is ours, below the root.
const FOLDERS: [&str; 2] = ["bindings/swift", "ffi-tests/swift"];

/// A program that runs for longer hangs.
const PATIENCE: Duration = Duration::from_secs(480);

/// Between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(20);

/// All files in Swift of this project, in order.
///
/// # Errors
/// Where a folder cannot be read.
pub fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !is_hidden {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "swift") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads Swift without understanding it.
#[derive(Debug)]
pub struct Parser {
    python: PathBuf,
}

impl Parser {
    /// Fetches it where it is not there yet.
    ///
    /// # Errors
    /// Names what is to be installed.
    pub fn find() -> anyhow::Result<Self> {
        let folder = cache("swift")?;
        let lock = File::create(folder.join("lock"))?;
        // Several tests may want it at once.
        lock.lock()?;
        let environment = folder.join("python");
        let (python, complete) = (environment.join("bin/python"), environment.join("complete"));
        if fs::read_to_string(&complete).is_ok_and(|packages| packages == PACKAGES.join(" ")) {
            return Ok(Self { python });
        }
        let made = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        made.context("no Python with venv: install it (Debian: apt-get install python3-venv)")?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        output(Command::new(&python).args(pip).args(PACKAGES)).context("the parser cannot be fetched from PyPI")?;
        fs::write(&complete, PACKAGES.join(" "))?;
        Ok(Self { python })
    }

    /// Whether all of it is Swift.
    ///
    /// # Errors
    /// Names each place that is not.
    pub fn check(&self, files: &[PathBuf]) -> anyhow::Result<()> {
        self.run("check", files).map(drop)
    }

    /// The public declarations of these files, one a line, in order.
    ///
    /// # Errors
    /// Where one of them is no Swift.
    pub fn api(&self, files: &[PathBuf]) -> anyhow::Result<String> {
        self.run("api", files)
    }

    fn run(&self, mode: &str, files: &[PathBuf]) -> anyhow::Result<String> {
        ensure!(!files.is_empty(), "no file in Swift");
        output(Command::new(&self.python).arg(root().join("ffi-tests/swift/parse.py")).arg(mode).args(files))
    }
}

/// The programs of `ffi-tests/swift`, compiled with the package as apps have it.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Compiles them.
    ///
    /// # Errors
    /// Where there is no compiler, or what it says.
    pub fn compile() -> anyhow::Result<Self> {
        ensure!(
            cfg!(target_os = "linux"),
            "on this system the package wants its XCFramework; build it with bindings/swift/build-xcframework.sh"
        );
        output(Command::new("swift").arg("--version")).context("no Swift: https://www.swift.org/install")?;
        let library = library()?;
        let build = |last: &[&str]| {
            let mut command = Command::new("swift");
            command
                .arg("build")
                .arg("--package-path")
                .arg(root().join("ffi-tests/swift"))
                .arg("--scratch-path")
                .arg(cache("swift")?.join("build"));
            command.args(["-Xlinker", "-L", "-Xlinker"]).arg(library.parent().unwrap_or(Path::new("."))).args(last);
            output(&mut command)
        };
        build(&[])?;
        Ok(Self { folder: PathBuf::from(build(&["--show-bin-path"])?.trim()) })
    }

    /// One of them, to be run with the library that was built with this test.
    ///
    /// # Errors
    /// Where the library is not there.
    pub fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.folder.join(name));
        command.env("LD_LIBRARY_PATH", library()?.parent().unwrap_or(Path::new(".")));
        Ok(command)
    }
}

/// What a program writes.
///
/// # Errors
/// The same, where it fails or hangs.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut written = tempfile::tempfile()?;
    let streams = (written.try_clone()?, written.try_clone()?);
    let mut program = command.stdin(Stdio::null()).stdout(streams.0).stderr(streams.1).spawn().with_context(|| name.clone())?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = program.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > PATIENCE {
            program.kill()?;
            program.wait()?;
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let mut text = String::new();
    written.rewind()?;
    written.read_to_string(&mut text)?;
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => bail!("{name}: {status}\n{text}"),
        None => bail!("{name} was still running after {} s\n{text}", PATIENCE.as_secs()),
    }
}
