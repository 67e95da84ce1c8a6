//! Python, and the package as it would be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::kotlin::lock;
use crate::process::output;
use crate::{cache, library, root};

/// What the tests need of PyPI: the parser of Swift and its grammar.
const PACKAGES: [&str; 2] = ["tree-sitter==0.26.1", "tree-sitter-swift==0.7.4"];

/// A command that runs a program of `ffi-tests/python` with the package in `folder`, where it is put together with the library.
///
/// # Errors
/// Where the library was not built, or a file cannot be copied.
pub fn python(program: &str, folder: &Path) -> anyhow::Result<Command> {
    let package = folder.join("vigie");
    fs::create_dir_all(&package)?;
    for name in ["__init__.py", "vigie_ffi.py"] {
        fs::copy(root().join("bindings/python/vigie").join(name), package.join(name))?;
    }
    let built = library()?;
    fs::copy(&built, package.join(built.file_name().unwrap_or_default()))?;
    let programs: PathBuf = root().join("ffi-tests/python");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", std::env::join_paths([folder, &programs])?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(programs.join(program));
    Ok(command)
}

/// The interpreter of an environment of its own below the target folder, with pip and [`PACKAGES`]; made where it is not there yet.
///
/// # Errors
/// Names what is to be installed.
pub(crate) fn environment() -> anyhow::Result<PathBuf> {
    let folder = cache("python")?;
    let _lock = lock(&folder)?;
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if fs::read_to_string(&complete).is_ok_and(|packages| packages == PACKAGES.join(" ")) {
        return Ok(python);
    }
    output(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("no Python with venv: install it (Debian: apt-get install python3-venv)")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    output(Command::new(&python).args(pip).args(PACKAGES)).context("the parser cannot be fetched from PyPI")?;
    fs::write(&complete, PACKAGES.join(" "))?;
    Ok(python)
}
