//! A slow disk: a small shared library, compiled here and loaded by the backend before all others, that lets each synchronisation take longer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Where the library finds how much longer, in microseconds.
pub(crate) const VARIABLE: &str = "VIGIE_SLOW_FSYNC_US";

const SOURCE: &str = r#"#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slow(const char *name, int file) {
    const char *microseconds = getenv("VIGIE_SLOW_FSYNC_US");
    if (microseconds) usleep((useconds_t)atol(microseconds));
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
}

int fsync(int file) { return slow("fsync", file); }
int fdatasync(int file) { return slow("fdatasync", file); }
"#;

/// Compiles the library into this folder.
///
/// # Errors
/// Where there is no C compiler, with the way to one.
pub(crate) fn compile(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (folder.join("slow-disk.c"), folder.join("slow-disk.so"));
    fs::write(&source, SOURCE).with_context(|| format!("{} cannot be written", source.display()))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").stdin(Stdio::null());
    let output = compiler.output().context("there is no C compiler `cc`; on Debian: apt install gcc libc6-dev")?;
    ensure!(output.status.success(), "the slow disk cannot be compiled: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(library)
}
