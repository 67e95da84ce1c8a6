//! Python, and the package as it would be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{library, root};

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
