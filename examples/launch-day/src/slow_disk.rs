//! A slow disk: a small shared library, compiled here and loaded before all others, that lets each synchronisation take longer. How much longer stands in
//! a file, so that a disk can become slow and fast while it is used.
//!
//! A backend is started with it by this program. A PostgreSQL runs already: `launch-day slow-disk DIR` says how it is started with the same library.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;

/// Where the library finds the file with the time, in microseconds.
const VARIABLE: &str = "VIGIE_SLOW_FSYNC_FILE";

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

/// A disk that is slower than this is broken.
const SLOWEST: Duration = Duration::from_secs(1);

/// How much longer a synchronisation is to take, as it is typed.
///
/// # Errors
/// What is no time, and what is longer than a second.
pub(crate) fn longer(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time <= SLOWEST { Ok(time) } else { Err("a disk is at most 1s slower".into()) }
}

/// The library, and the file that says how slow the disk is. Dropped, the disk is as fast as it was: a PostgreSQL goes on with it.
#[derive(Debug)]
pub(crate) struct SlowDisk {
    library: PathBuf,
    file: PathBuf,
}

impl SlowDisk {
    fn at(folder: &Path) -> Self {
        Self { library: folder.join("slow-disk.so"), file: folder.join("slow-disk.us") }
    }

    /// Compiles the library into this folder, for a disk that is as fast as it was.
    ///
    /// # Errors
    /// Where there is no C compiler, with the way to one.
    fn compile(folder: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("{} cannot be used", folder.display());
        // As the system names it, so that it can be seen whether a program has loaded it.
        let slow = Self::at(&folder.canonicalize().with_context(cannot)?);
        let path = slow.library.to_str().with_context(cannot)?;
        ensure!(!path.contains([' ', ':']), "LD_PRELOAD takes no path with spaces or colons; name another folder than {path}");
        slow.set(Duration::ZERO)?;
        let source = slow.library.with_extension("c");
        fs::write(&source, SOURCE).with_context(|| format!("{} cannot be written", source.display()))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&slow.library).arg(&source).arg("-ldl").stdin(Stdio::null());
        let output = compiler.output().context("there is no C compiler `cc`; on Debian: apt install gcc libc6-dev")?;
        ensure!(output.status.success(), "the slow disk cannot be compiled: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(slow)
    }

    /// The one that this PostgreSQL was started with (`made`), or, without PostgreSQL, a new one in this folder; synchronisations take so much longer.
    ///
    /// # Errors
    /// Where a PostgreSQL stays fast, and as [`SlowDisk::compile`].
    pub(crate) fn new(folder: &Path, made: Option<&Path>, database: Option<&str>, longer: Duration) -> anyhow::Result<Arc<Self>> {
        let slow = match (made, database) {
            (Some(made), Some(_)) => {
                let made = made.canonicalize().with_context(|| format!("{} cannot be used", made.display()))?;
                ensure!(
                    Self::at(&made).library.is_file(),
                    "{0} holds no slow disk; make one with `launch-day slow-disk {0}`",
                    made.display()
                );
                Self::at(&made)
            }
            (None, Some(_)) => {
                bail!("PostgreSQL has a disk of its own; start it as `launch-day slow-disk DIR` says, and give --slow-disk DIR")
            }
            (_, None) => Self::compile(folder)?,
        };
        slow.set(longer)?;
        if let Some(url) = database {
            let url = url.to_owned();
            // PostgreSQL's client has a runtime of its own, which cannot be inside another.
            let took =
                std::thread::spawn(move || commit(&url)).join().map_err(|_| anyhow::anyhow!("PostgreSQL cannot be asked"))??;
            ensure!(
                took >= longer,
                "PostgreSQL commits in {took:?}, so its disk is not slow; start it as `launch-day slow-disk {}` says",
                slow.library.parent().unwrap_or(folder).display()
            );
        }
        Ok(Arc::new(slow))
    }

    /// From now on each synchronisation takes so much longer.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn set(&self, longer: Duration) -> anyhow::Result<()> {
        fs::write(&self.file, longer.as_micros().to_string())
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }

    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    /// What a program needs in its environment, so that its disk is slow.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), (VARIABLE, &self.file)]
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Where the folder is gone, nobody is slow any more.
        let _ = self.set(Duration::ZERO);
    }
}

/// How long a commit of this PostgreSQL takes that is synchronised.
fn commit(url: &str) -> anyhow::Result<Duration> {
    let mut client = postgres::Client::connect(url, postgres::NoTls).context("PostgreSQL cannot be used")?;
    let begun = Instant::now();
    client.batch_execute("SELECT pg_logical_emit_message(true, 'vigie', '')")?;
    Ok(begun.elapsed())
}

/// Make a slow disk for a PostgreSQL, so that --slow-fsync and --overload can hold it down
///
/// Compiles a small library into a folder, and says how a PostgreSQL is started with it (Linux, with a C compiler). Its disk is as fast as ever, but while a
/// crowd asks for a slow one.
#[derive(Debug, Clone, Args)]
pub(crate) struct SlowDiskArgs {
    /// The folder, which PostgreSQL must be able to read; it is made where it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(args: &SlowDiskArgs) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
    let slow = SlowDisk::compile(&args.folder)?;
    let folder = slow.library.parent().unwrap_or(&args.folder);
    let mut out = anstream::stdout();
    let [preload, file] = slow.environment().map(|(name, path)| format!("{name}={}", path.display()));
    writeln!(out, "PostgreSQL   {preload} {file} pg_ctl start ...")?;
    writeln!(out, "the crowd    launch-day --slow-disk {} --database postgres://... --slow-fsync 5ms", folder.display())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_slower_by_a_time_of_at_most_a_second() {
        assert_eq!((longer("5ms"), longer("1s")), (Ok(Duration::from_millis(5)), Ok(SLOWEST)));
        for wrong in ["", "5", "-1ms", "1001ms", "1h", "99999999999999999999s"] {
            assert!(longer(wrong).is_err(), "{wrong}");
        }
    }
}
