//! Swift: compiled and run where there is a compiler, and parsed everywhere.
//!
//! The parser is tree-sitter's, from PyPI at one version, in an environment of its own below the target folder. It knows no types: what it reads may still
//! not compile. It also lists the public declarations, so that a change of the surface is seen in review.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::process::output;
use crate::python::environment;
use crate::{cache, library, root};

/// Where Swift lies that is ours, below the root.
const FOLDERS: [&str; 2] = ["bindings/swift", "ffi-tests/swift"];

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
        Ok(Self { python: environment()? })
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
