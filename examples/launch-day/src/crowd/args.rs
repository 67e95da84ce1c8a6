//! What can be said on the command line of a crowd, and what follows from it at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::findings::Findings;
use super::plot;
use super::proof::Database;
use super::scene::{Arrival, processes_that_hold};
use crate::backend::{self, Setup};
use crate::slow_disk;

/// A crowd.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("slowness").args(["slow_fsync", "overload"]))]
pub(crate) struct CrowdArgs {
    /// How many people sign up
    #[arg(long, value_name = "N", default_value_t = 25_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) people: u32,

    /// Within which time they come, such as 1s or 60s; or `hold`: all are connected first, then everybody posts within a second
    #[arg(long = "in", value_name = "TIME", default_value = "1s")]
    pub(super) arrival: Arrival,

    /// Kill the server so many seconds after the start, and start it again at once. Can be given more than once
    #[arg(long, value_name = "SECONDS", value_parser = kill_time, conflicts_with = "server")]
    pub(super) kill_at: Vec<f64>,

    /// Processes that play the crowd [default: 2 above 15,000 people]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) procs: Option<u16>,

    /// Let nobody try again when so much time has passed
    #[arg(long, value_name = "TIME", default_value = "20m")]
    pub(super) longest: humantime::Duration,

    /// Hold so many connections beside the people, on which nothing is sent
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(super) idle: u32,

    /// Let all connections come from the same address
    #[arg(long)]
    pub(super) one_address: bool,

    /// Let so many times as many people come as can be served: the server is held down by a slow disk and a small batch meanwhile (Linux, with a C
    /// compiler; a PostgreSQL with --slow-disk)
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=10),
          conflicts_with_all = ["people", "arrival", "server", "kill_at", "straightforward", "processes", "slow_fsync", "idle"])]
    pub(super) overload: Option<u32>,

    /// How long --overload lasts
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "overload", value_parser = overload_time)]
    pub(super) overload_for: humantime::Duration,

    #[command(flatten)]
    pub(super) server: ServerArgs,

    /// Let the backend do one request in a transaction: what groups are compared with
    #[arg(long, conflicts_with = "server")]
    pub(super) straightforward: bool,

    /// Let the backend run so many processes [default: 1; with --in hold 1 for each 15,000 connections]
    #[arg(long, value_name = "N", conflicts_with = "server")]
    pub(super) processes: Option<u16>,

    /// Let each synchronisation of the disk take so much longer, such as 5ms (Linux, with a C compiler; a PostgreSQL with --slow-disk)
    #[arg(long, value_name = "TIME", value_parser = slow_disk::longer, conflicts_with = "server")]
    pub(super) slow_fsync: Option<Duration>,

    /// The slow disk that the PostgreSQL was started with (`launch-day slow-disk`)
    #[arg(long, value_name = "DIR", requires_all = ["slowness", "database"])]
    pub(super) slow_disk: Option<PathBuf>,

    /// Keep forms, outcomes and the backend's folder in this new folder: `launch-day prove DIR` proves it again
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl CrowdArgs {
    /// The processes of a backend of our own; nothing where it is to be as without options.
    pub(super) fn backend_processes(&self) -> Option<u16> {
        let that_hold = || processes_that_hold(self.people.saturating_add(self.idle));
        self.processes.or_else(|| (self.arrival == Arrival::Held).then(that_hold).filter(|processes| *processes > 1))
    }
}

/// Which server.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerArgs {
    /// A backend that runs already, by its address or its client.json [default: one is started]
    #[arg(long, value_name = "CLIENT_JSON_OR_URL")]
    pub(super) server: Option<String>,

    /// The backend's program [default: vigie-backend beside this one]
    #[arg(long, value_name = "PATH")]
    pub(super) backend: Option<PathBuf>,

    /// A PostgreSQL database of this machine in place of SQLite, such as postgres://user@127.0.0.1/name
    #[arg(long, value_name = "URL", value_parser = backend::local_database)]
    pub(super) database: Option<String>,
}

impl ServerArgs {
    /// Where the sign-ups can be read, as far as that is known.
    pub(super) fn database(&self, folder: &Path) -> Option<Database> {
        let of_file = |file: &Path| Some(Database::Sqlite(file.with_file_name("backend.sqlite")));
        match (&self.database, &self.server) {
            (Some(url), _) => Some(Database::Postgres(url.clone())),
            (None, None) => of_file(&client_json(folder)),
            (None, Some(named)) => {
                of_file(Path::new(named)).filter(|_| Path::new(named).with_file_name("backend.sqlite").is_file())
            }
        }
    }

    pub(super) fn setup(&self, folder: &Path) -> anyhow::Result<Setup> {
        let program = backend::program(self.backend.as_deref())?;
        Ok(Setup { database: self.database.clone(), ..Setup::new(program, folder.join("backend")) })
    }
}

fn client_json(folder: &Path) -> PathBuf {
    folder.join("backend/client.json")
}

/// What is told.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Draw who came, was answered and was refused over time; what has that name is overwritten
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,

    /// Write one JSON document instead of text
    #[arg(long)]
    pub(super) json: bool,
}

impl OutputArgs {
    pub(super) fn write(&self, findings: &Findings) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            plot::write(findings, path)?;
        }
        if self.json {
            let mut stdout = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut stdout, findings)?;
            writeln!(stdout)?;
        } else {
            findings.tell(&mut anstream::stdout())?;
        }
        Ok(if findings.proof.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Prove again what a crowd left in a folder (--keep)
///
/// Reads the forms and receipts, starts the backend on the folder, reads its database, and has everybody ask again.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProveArgs {
    pub(super) folder: PathBuf,

    #[command(flatten)]
    pub(super) server: ServerArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

fn overload_time(text: &str) -> Result<humantime::Duration, &'static str> {
    let time = text.parse().ok().filter(|time: &humantime::Duration| (2..=120).contains(&time.as_secs()));
    time.ok_or("write it as 60s, from 2s to 120s")
}

fn kill_time(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
    seconds.ok_or("write it in seconds, such as 0.5, at most 3600")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_arrival_are_read_as_people_write_them() {
        assert_eq!("60s".parse(), Ok(Arrival::Within(Duration::from_secs(60))));
        assert_eq!("hold".parse(), Ok(Arrival::Held));
        for text in ["", "1", "2h", "held"] {
            assert!(text.parse::<Arrival>().is_err(), "{text}");
        }
        assert_eq!((kill_time("0.5"), kill_time("-1").is_err(), kill_time("x").is_err()), (Ok(0.5), true, true));
    }
}
