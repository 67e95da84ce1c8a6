//! A slow disk: a small shared library, compiled here and loaded by the backend before all others, that lets each synchronisation take longer. How much
//! longer stands in a file, so that a disk can become fast again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

/// Where the library finds the file with the time, in microseconds.
pub(crate) const VARIABLE: &str = "VIGIE_SLOW_FSYNC_FILE";

const SOURCE: &str = r#"#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int slow(const char *name, int file) {
    const char *path = getenv("VIGIE_SLOW_FSYNC_FILE");
    FILE *said = path ? fopen(path, "r") : NULL;
    long microseconds = 0;
    if (said) {
        if (fscanf(said, "%ld", &microseconds) != 1) microseconds = 0;
        fclose(said);
    }
    if (microseconds > 0) usleep((useconds_t)microseconds);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
}

int fsync(int file) { return slow("fsync", file); }
int fdatasync(int file) { return slow("fdatasync", file); }
"#;

/// The library, and the file that says how slow the disk is.
#[derive(Debug, Clone)]
pub(super) struct SlowDisk {
    pub(super) library: PathBuf,
    pub(super) file: PathBuf,
}

impl SlowDisk {
    /// Compiles the library into this folder, for a disk whose synchronisations take so much longer.
    ///
    /// # Errors
    /// Where there is no C compiler, with the way to one.
    pub(super) fn new(folder: &Path, longer: Duration) -> anyhow::Result<Self> {
        let slow = Self { library: folder.join("slow-disk.so"), file: Self::file(folder) };
        set(&slow.file, longer)?;
        let source = folder.join("slow-disk.c");
        fs::write(&source, SOURCE).with_context(|| format!("{} cannot be written", source.display()))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&slow.library).arg(&source).arg("-ldl").stdin(Stdio::null());
        let output = compiler.output().context("there is no C compiler `cc`; on Debian: apt install gcc libc6-dev")?;
        ensure!(output.status.success(), "the slow disk cannot be compiled: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(slow)
    }

    /// The file that says how slow the disk of a crowd in this folder is.
    pub(super) fn file(folder: &Path) -> PathBuf {
        folder.join("slow-disk.us")
    }
}

/// From now on each synchronisation takes so much longer.
///
/// # Errors
/// Where the file cannot be written.
pub(super) fn set(file: &Path, longer: Duration) -> anyhow::Result<()> {
    fs::write(file, longer.as_micros().to_string()).with_context(|| format!("{} cannot be written", file.display()))
}
