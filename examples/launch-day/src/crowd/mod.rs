//! `launch-day`: a crowd that signs up in the same minute, and the proof that nobody lost anything.
//!
//! ```text
//! forms, sealed and stored -> parts (processes) -> everybody signs up, repeats as their Pacer says    the server is killed and started meanwhile
//!                                               -> outcomes -> proof (receipts, database, repeats) -> table or JSON, plot
//! ```
//!
//! Nobody waits for anybody: who comes at a time comes then, whatever became of the others. Only what is sent is made up.

mod findings;
mod forms;
mod overload;
mod part;
mod parts;
mod person;
mod plot;
mod proof;
mod scene;
mod server;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use vigie::time::{Clock, SystemClock};

use crate::backend::{self, Setup};
use crate::ending;
use crate::progress::Progress;
use crate::slow_disk::SlowDisk;
use findings::Findings;
use part::Plan;
use parts::Part;
use person::Outcome;
use proof::{Database, Holder, Proof};
use scene::{Arrival, Scene};
use server::{List, Own};

pub(crate) use part::{PartArgs, run as play};

/// From the word to the start of the clock: every part has heard it by then.
const LEAD: Duration = Duration::from_millis(300);

/// The server opens and confirms what it has taken in before the proof asks it again, so that the proof's requests are not counted with it. Where nothing
/// was done for so long, it is not waited for: mails that were under way when it was killed come after ten minutes.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);

/// A crowd.
#[derive(Debug, Clone, Args)]
pub(crate) struct CrowdArgs {
    /// How many people sign up
    #[arg(long, value_name = "N", default_value_t = 25_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    people: u32,

    /// Within which time they come, such as 1s or 60s; or `hold`: all are connected first, then everybody posts within a second
    #[arg(long = "in", value_name = "TIME", default_value = "1s")]
    arrival: Arrival,

    /// Kill the server so many seconds after the start, and start it again at once. Can be given more than once
    #[arg(long, value_name = "SECONDS", value_parser = kill_time, conflicts_with = "server")]
    kill_at: Vec<f64>,

    /// Processes that play the crowd [default: 2 above 15,000 people]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    procs: Option<u16>,

    /// Let nobody try again when so much time has passed
    #[arg(long, value_name = "TIME", default_value = "20m")]
    longest: humantime::Duration,

    /// Hold so many connections beside the people, on which nothing is sent
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    idle: u32,

    /// Let all connections come from the same address
    #[arg(long)]
    one_address: bool,

    /// Let so many times as many people come as can be served: the server is held down by a slow disk and a small batch meanwhile (Linux, with a C
    /// compiler; a PostgreSQL with --slow-disk)
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=10),
          conflicts_with_all = ["people", "arrival", "server", "kill_at", "straightforward", "processes", "slow_fsync", "idle"])]
    overload: Option<u32>,

    /// How long --overload lasts
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "overload", value_parser = overload_time)]
    overload_for: humantime::Duration,

    #[command(flatten)]
    server: ServerArgs,

    /// Let the backend do one request in a transaction: what groups are compared with
    #[arg(long, conflicts_with = "server")]
    straightforward: bool,

    /// Let the backend run so many processes
    #[arg(long, value_name = "N", conflicts_with = "server")]
    processes: Option<u16>,

    /// Let each synchronisation of the disk take so much longer, such as 5ms (Linux, with a C compiler; a PostgreSQL with --slow-disk)
    #[arg(long, value_name = "TIME", conflicts_with = "server")]
    slow_fsync: Option<humantime::Duration>,

    /// The slow disk that the PostgreSQL was started with (`launch-day slow-disk`)
    #[arg(long, value_name = "DIR", requires = "database")]
    slow_disk: Option<PathBuf>,

    /// Keep forms, outcomes and the backend's folder in this new folder: `launch-day prove DIR` proves it again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

/// Which server.
#[derive(Debug, Clone, Args)]
struct ServerArgs {
    /// A backend that runs already, by its address or its client.json [default: one is started]
    #[arg(long, value_name = "CLIENT_JSON_OR_URL")]
    server: Option<String>,

    /// The backend's program [default: vigie-backend beside this one]
    #[arg(long, value_name = "PATH")]
    backend: Option<PathBuf>,

    /// A PostgreSQL database of this machine in place of SQLite, such as postgres://user@127.0.0.1/name
    #[arg(long, value_name = "URL", value_parser = backend::local_database)]
    database: Option<String>,
}

impl ServerArgs {
    /// Where the sign-ups can be read, as far as that is known.
    fn database(&self, folder: &Path) -> Option<Database> {
        let of_file = |file: &Path| Some(Database::Sqlite(file.with_file_name("backend.sqlite")));
        match (&self.database, &self.server) {
            (Some(url), _) => Some(Database::Postgres(url.clone())),
            (None, None) => of_file(&client_json(folder)),
            (None, Some(named)) => {
                of_file(Path::new(named)).filter(|_| Path::new(named).with_file_name("backend.sqlite").is_file())
            }
        }
    }

    fn setup(&self, folder: &Path) -> anyhow::Result<Setup> {
        let program = backend::program(self.backend.as_deref())?;
        Ok(Setup { database: self.database.clone(), ..Setup::new(program, folder.join("backend")) })
    }
}

fn client_json(folder: &Path) -> PathBuf {
    folder.join("backend/client.json")
}

/// What is told.
#[derive(Debug, Clone, Args)]
struct OutputArgs {
    /// Draw who came, was answered and was refused over time; what has that name is overwritten
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    fn write(&self, findings: &Findings) -> anyhow::Result<ExitCode> {
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
    folder: PathBuf,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

fn overload_time(text: &str) -> Result<humantime::Duration, &'static str> {
    let time = text.parse().ok().filter(|time: &humantime::Duration| (2..=120).contains(&time.as_secs()));
    time.ok_or("write it as 60s, from 2s to 120s")
}

fn kill_time(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
    seconds.ok_or("write it in seconds, such as 0.5, at most 3600")
}

pub(crate) fn run(args: &CrowdArgs) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::tempdir().context("there is no temporary folder")?;
    let folder = match &args.keep {
        Some(kept) => {
            fs::create_dir(kept).with_context(|| format!("{} cannot be made; --keep wants a new folder", kept.display()))?;
            kept.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let findings = match args.overload {
        Some(factor) => ending::run(overload::run(args, factor, &folder))?,
        None => {
            let scene = Scene::new(args.people, args.idle, args.arrival, args.procs)?;
            ending::run(plain(args, &scene, &folder))?
        }
    };
    args.output.write(&findings)
}

pub(crate) fn prove(args: &ProveArgs) -> anyhow::Result<ExitCode> {
    let folder = args.folder.canonicalize().with_context(|| format!("{} cannot be used", args.folder.display()))?;
    let scene = Scene::read(&folder)?;
    let findings = ending::run(async {
        let own = args.server.server.is_none().then(|| Own::start(args.server.setup(&folder)?)).transpose()?;
        let list = find(&args.server, own.as_ref()).await?;
        let (outcomes, proof) = hold_against(&scene, &folder, &list, args.server.database(&folder)).await?;
        own.map_or(Ok(()), Own::end)?;
        Ok(Findings::new(&scene, args.server.database.is_some(), &outcomes, proof))
    })?;
    args.output.write(&findings)
}

async fn find(args: &ServerArgs, own: Option<&Own>) -> anyhow::Result<List> {
    match (&args.server, own) {
        (Some(named), _) => List::find(named).await,
        (None, Some(own)) => List::find(&own.client_json().to_string_lossy()).await,
        (None, None) => bail!("there is no server"),
    }
}

/// A crowd as it comes.
async fn plain(args: &CrowdArgs, scene: &Scene, folder: &Path) -> anyhow::Result<Findings> {
    let slow = args.slow_fsync.map(|time| SlowDisk::new(folder, args.slow_disk.as_deref(), args.server.database.as_ref(), *time));
    let setup = || setup(args, folder, slow.transpose()?);
    let mut own = args.server.server.is_none().then(|| Own::start(setup()?)).transpose()?;
    let (findings, _) = sign_up(args, scene, folder, own.as_mut(), args.server.database(folder)).await?;
    own.map_or(Ok(()), Own::end)?;
    Ok(findings)
}

/// Has everybody sign up at this backend of our own, or at one that runs already, and proves what became of them from what is in this folder and in the
/// database.
async fn sign_up(
    args: &CrowdArgs,
    scene: &Scene,
    folder: &Path,
    mut own: Option<&mut Own>,
    database: Option<Database>,
) -> anyhow::Result<(Findings, Vec<Outcome>)> {
    let list = find(&args.server, own.as_deref()).await?;
    scene.write(folder)?;
    prepare(scene, &list, folder).await?;

    let mut parts = Vec::new();
    for part in 0..scene.parts {
        parts.push(Part::start(&plan(args, scene, &list, folder, part)?, folder, part)?);
    }
    for part in &mut parts {
        part.line().await?.filter(|line| line == "ready").context("a process of the crowd did not begin")?;
    }
    if let Some(own) = own.as_deref_mut() {
        own.clock_starts();
    }
    let start = Instant::now() + LEAD;
    let start_ms = SystemClock.now().after(LEAD).unix_ms();
    for part in &mut parts {
        part.stdin.write_all(format!("{start_ms}\n").as_bytes()).await.context("a process of the crowd ended early")?;
    }
    let disk = own.as_deref().and_then(Own::slow_disk);
    let held_down = hold_down(scene.arrival, start, disk.as_deref());
    tokio::try_join!(parts::watch(&mut parts, scene.people), kill(own.as_deref_mut(), start, &args.kill_at), held_down)?;
    let spent = own.as_deref().and_then(Own::spent);
    parts::end(parts).await?;
    let spent_in_all = match (&own, &database) {
        (Some(own), Some(database)) if args.overload.is_none() && catch_up(database).await? => own.spent(),
        _ => None,
    };

    let (outcomes, proof) = hold_against(scene, folder, &list, database).await?;
    let mut findings = Findings::new(scene, args.server.database.is_some(), &outcomes, proof);
    findings.spent(spent, spent_in_all);
    findings.is_straightforward = args.straightforward;
    findings.slow_fsync_ms = args.slow_fsync.map(|time| time.as_secs_f64() * 1_000.0);
    if let Some(own) = own {
        findings.kills_s.clone_from(&args.kill_at);
        findings.ready_s.clone_from(&own.ready_s);
    }
    Ok((findings, outcomes))
}

/// The disk is slow as long as an overload lasts, and no longer.
async fn hold_down(arrival: Arrival, start: Instant, disk: Option<&SlowDisk>) -> anyhow::Result<()> {
    let (Arrival::Overload { lasts, .. }, Some(disk)) = (arrival, disk) else { return Ok(()) };
    disk.set(overload::SLOW)?;
    tokio::time::sleep_until(start + lasts).await;
    disk.set(Duration::ZERO)
}

fn setup(args: &CrowdArgs, folder: &Path, slow_disk: Option<Arc<SlowDisk>>) -> anyhow::Result<Setup> {
    let mut setup = Setup { slow_disk, ..args.server.setup(folder)? };
    setup.group_size = args.straightforward.then_some(1);
    if let Some(processes) = args.processes {
        setup.processes = Some(processes);
        // Several processes cannot share a port that the system chooses.
        setup.listen = Some([free_address()?, free_address()?]);
    }
    if args.overload.is_some() {
        setup.group_size = Some(overload::BATCH);
    }
    Ok(setup)
}

/// An address of this machine on which nobody listens now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr()?)
}

/// Everybody fills in their form, before the clock starts.
async fn prepare(scene: &Scene, list: &List, folder: &Path) -> anyhow::Result<()> {
    let mut rng = random()?;
    let mut progress = Progress::of_steps(u64::from(scene.people), "forms");
    for part in 0..scene.parts {
        let mut writer = forms::Writer::new(&Scene::file_of(folder, "forms", part))?;
        for number in scene.part(part) {
            writer.add(number, &list.rules, &list.sealing, &mut rng)?;
            if number % 64 == 0 {
                progress.reach(u64::from(number));
                tokio::task::yield_now().await;
            }
        }
        writer.finish()?;
    }
    Ok(())
}

fn random() -> anyhow::Result<ChaCha20Rng> {
    ChaCha20Rng::try_from_rng(&mut SysRng).context("the system gives no random numbers")
}

fn plan(args: &CrowdArgs, scene: &Scene, list: &List, folder: &Path, part: u16) -> anyhow::Result<Plan> {
    let ms = |time: Duration| time.as_millis() as u64;
    let (later, later_ms) = match scene.arrival {
        Arrival::Overload { rest, share, .. } => (share, ms(rest)),
        _ => (0.0, 0),
    };
    Ok(Plan {
        address: list.target.address,
        path: list.target.path.clone(),
        forms: Scene::file_of(folder, "forms", part),
        outcomes: Scene::file_of(folder, "outcomes", part),
        window_ms: ms(scene.arrival.window()),
        is_held: scene.arrival == Arrival::Held,
        later,
        later_ms,
        idle: args.idle / u32::from(scene.parts),
        has_one_address: args.one_address,
        longest_ms: ms(*args.longest),
        seed: rand::Rng::next_u64(&mut random()?),
    })
}

async fn kill(own: Option<&mut Own>, start: Instant, at: &[f64]) -> anyhow::Result<()> {
    let Some(own) = own else { return Ok(()) };
    let mut times = at.to_vec();
    times.sort_by(f64::total_cmp);
    for time in times {
        tokio::time::sleep_until(start + Duration::from_secs_f64(time)).await;
        own.kill()?;
    }
    Ok(())
}

/// Until every form is opened and confirmed. Whether that came in time.
async fn catch_up(database: &Database) -> anyhow::Result<bool> {
    let (mut least, mut moved) = (i64::MAX, Instant::now());
    while moved.elapsed() < STANDSTILL {
        let database = database.clone();
        let waits = tokio::task::spawn_blocking(move || database.waits()).await??;
        if waits == 0 {
            return Ok(true);
        }
        if waits < least {
            (least, moved) = (waits, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

/// Reads what became of everybody, and proves it.
async fn hold_against(
    scene: &Scene,
    folder: &Path,
    list: &List,
    database: Option<Database>,
) -> anyhow::Result<(Vec<person::Outcome>, Proof)> {
    let (mut holders, mut outcomes) = (Vec::new(), Vec::new());
    for part in 0..scene.parts {
        let people = forms::read(&Scene::file_of(folder, "forms", part))?;
        let of_part = part::outcomes(&Scene::file_of(folder, "outcomes", part))?;
        ensure!(people.len() == of_part.len(), "forms and outcomes of part {part} do not belong together");
        let answer = |outcome: &person::Outcome| outcome.acknowledged.as_ref().map(|(_, _, answer)| answer.clone());
        holders.extend(people.into_iter().zip(&of_part).map(|(person, outcome)| Holder { person, answer: answer(outcome) }));
        outcomes.extend(of_part);
    }
    proof::check_count(holders.len(), scene.people)?;
    // Before anybody asks again: a sign-up that was lost would be made again by that.
    let book = match database {
        Some(database) => Some(tokio::task::spawn_blocking(move || database.read()).await??),
        None => None,
    };
    let otherwise: HashSet<usize> = proof::ask_again(&holders, &list.target).await?;
    let proof = proof::judge(&holders, &list.receipts, book.as_ref(), &otherwise)?;
    Ok((outcomes, proof))
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
