//! `launch-day load`: a real backend, and as many reports and downloads as it takes.
//!
//! ```text
//! backend, one request a transaction:  codes -> reports
//! the same database, in groups:        codes -> reports -> key files -> downloads, [through nginx]
//! ```
//!
//! The [backend] is a process beside this one, on this machine. Each connection begins the next piece of work when it has its answer, so the figures say
//! what a server carries, not how a crowd waits (that is `pacing`).

mod connection;
mod findings;
mod nginx;
mod reports;
mod round;

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use vigie::time::{Clock, SystemClock};

use crate::backend::{self, Backend, Setup};
use crate::ending;
use crate::slow_disk::{self, SlowDisk};
use connection::Connection;
use findings::Findings;
use nginx::Nginx;
use reports::People;
use round::Load;

/// Measure the reference backend: reports and downloads in a second, and memory
///
/// Starts vigie-backend in a temporary folder, on free ports of this machine, and ends it afterwards. Reports are whole ones (verify, certificate,
/// publish); they are measured twice, first with one request in a transaction, then in groups.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// How many people report, each time
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    reports: u32,

    /// How many downloads there are of each kind
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    downloads: u32,

    /// How many connections ask at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Begin nothing more after so many seconds of each kind
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=600))]
    longest: u16,

    /// The backend's program [default: vigie-backend beside this one]
    #[arg(long, value_name = "PATH")]
    backend: Option<PathBuf>,

    /// An empty PostgreSQL database of this machine in place of SQLite, such as postgres://user@127.0.0.1/name
    #[arg(long, value_name = "URL", value_parser = backend::local_database)]
    database: Option<String>,

    /// Measure downloads through nginx, too
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "nginx")]
    nginx: Option<PathBuf>,

    /// Let each synchronisation of the disk take so much longer, such as 5ms (Linux, with a C compiler; a PostgreSQL with --slow-disk)
    #[arg(long, value_name = "TIME", value_parser = slow_disk::longer)]
    slow_fsync: Option<Duration>,

    /// The slow disk that the PostgreSQL was started with (`launch-day slow-disk`)
    #[arg(long, value_name = "DIR", requires_all = ["slow_fsync", "database"])]
    slow_disk: Option<PathBuf>,

    /// Groups must carry so many times the reports of one request in a transaction
    #[arg(long, value_name = "TIMES")]
    at_least: Option<f64>,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl LoadArgs {
    fn load(&self, count: u32) -> Load {
        Load {
            count: count as usize,
            connections: usize::from(self.connections),
            longest: Duration::from_secs(u64::from(self.longest)),
        }
    }
}

pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let program = backend::program(args.backend.as_deref())?;
    let folder = tempfile::tempdir().context("there is no temporary folder")?;
    let slow_disk =
        args.slow_fsync.map(|time| SlowDisk::new(folder.path(), args.slow_disk.as_deref(), args.database.as_deref(), time));
    let setup = Setup {
        database: args.database.clone(),
        slow_disk: slow_disk.transpose()?,
        ..Setup::new(program, folder.path().join("backend"))
    };
    let findings = ending::run(measure(args, &setup))?;
    if args.json {
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, &findings)?;
        writeln!(stdout)?;
    } else {
        findings.tell(&mut anstream::stdout())?;
    }
    Ok(if findings.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn measure(args: &LoadArgs, setup: &Setup) -> anyhow::Result<Findings> {
    let mut findings = Findings::new(args, setup);
    // The slower one first, while the database is empty: that favours it, if anything.
    let single = Backend::start(&Setup { group_size: Some(1), ..setup.clone() })?;
    let (_, alone) = report(args, &single, " (1 request a transaction)", &mut findings).await?;
    single.end()?;

    let grouped = Backend::start(setup)?;
    let (people, together) = report(args, &grouped, "", &mut findings).await?;
    findings.compare(alone, together);
    findings.memory_after_reports_kib = grouped.process.peak_memory_kib();

    people.publish_now(&mut Connection::new(grouped.admin)?).await?;
    let public = setup.data.join("public");
    download(args, grouped.public, "", &public, &mut findings).await?;
    if let Some(program) = &args.nginx {
        match Nginx::start(program, &setup.data.with_extension("nginx"), &public, grouped.public).await? {
            Some(nginx) => download(args, nginx.address, " (through nginx)", &public, &mut findings).await?,
            None => findings
                .skipped
                .push(format!("through nginx: there is no program `{}`; on Debian: apt install nginx-light", program.display())),
        }
    }
    findings.memory_at_the_end_kib = grouped.process.peak_memory_kib();
    grouped.end()?;
    Ok(findings)
}

/// Codes, and a report with each. Gives how many reports there were in a second.
async fn report(args: &LoadArgs, backend: &Backend, how: &str, findings: &mut Findings) -> anyhow::Result<(People, f64)> {
    let people = People {
        api_key: backend.api_key.clone(),
        health_authority_id: backend.health_authority_id.clone(),
        admin_token: backend.admin_token.clone(),
        today: SystemClock.now().interval().day_start(),
        rng: RefCell::new(ChaCha20Rng::try_from_rng(&mut SysRng).context("the system gives no random numbers")?),
    };
    let codes = RefCell::new(Vec::new());
    let load = args.load(args.reports);
    let issue = async |connection: &mut Connection, _| {
        let code = people.code(connection).await?;
        codes.borrow_mut().push(code);
        Ok(())
    };
    findings.rows.push(round::run(format!("codes{how}"), backend.admin, load, issue).await?);
    let codes = codes.into_inner();
    let load = Load { count: codes.len(), ..load };
    let row = round::run(format!("reports{how}"), backend.public, load, async |connection, at| {
        people.report(connection, &codes[at]).await
    })
    .await?;
    let per_second = row.per_second;
    findings.rows.push(row);
    Ok((people, per_second))
}

/// The list of key files, and the largest of them.
async fn download(args: &LoadArgs, from: SocketAddr, how: &str, public: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let index = std::fs::read_to_string(public.join("index.txt")).context("there is no list of key files")?;
    let length = |name: &str| std::fs::metadata(public.join(name)).map_or(0, |file| file.len());
    let Some(largest) = index.lines().max_by_key(|name| length(name)) else {
        findings.skipped.push(format!("key file{how}: nothing was published"));
        return Ok(());
    };
    for (what, name) in [("key list", "index.txt"), ("key file", largest)] {
        let (length, path) = (length(name), format!("/{name}"));
        let name = format!("{what} of {}{how}", findings::size(length));
        let row = round::run(name, from, args.load(args.downloads), async |connection, _| {
            let came = connection.download(&path).await?;
            anyhow::ensure!(came == length, "{came} of {length} bytes came");
            Ok(())
        });
        findings.rows.push(row.await?);
    }
    Ok(())
}
