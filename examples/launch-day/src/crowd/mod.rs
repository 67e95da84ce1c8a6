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
mod part;
mod person;
mod plot;
mod proof;
mod server;
mod slow_disk;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;
use vigie::time::{Clock, SystemClock};

use crate::backend::{self, Setup};
use crate::ending;
use crate::progress::Progress;
use findings::Findings;
use part::Plan;
use proof::{Database, Holder, Proof};
use server::{List, Own};

pub(crate) use part::{PartArgs, run as play};

/// People for whom one process has descriptors: two processes play more.
const ONE_PROCESS: u32 = 15_000;

/// The most that one process is given.
const MOST: u32 = 19_000;

/// From the word to the start of the clock: every part has heard it by then.
const LEAD: Duration = Duration::from_millis(300);

/// Within this time those post who are all connected before.
const HELD_WINDOW: Duration = Duration::from_secs(1);

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

    #[command(flatten)]
    server: ServerArgs,

    /// Let the backend do one request in a transaction: what groups are compared with
    #[arg(long, conflicts_with = "server")]
    straightforward: bool,

    /// Let the backend run so many processes
    #[arg(long, value_name = "N", conflicts_with = "server")]
    processes: Option<u16>,

    /// Let each synchronisation of the backend's disk take so much longer, such as 5ms (Linux, with a C compiler)
    #[arg(long, value_name = "TIME", conflicts_with = "server")]
    slow_fsync: Option<humantime::Duration>,

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

/// When they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Arrival {
    Within(Duration),
    Held,
}

impl Arrival {
    fn window(self) -> Duration {
        match self {
            Self::Within(window) => window,
            Self::Held => HELD_WINDOW,
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(window) => write!(f, "within {}", humantime::format_duration(*window)),
            Self::Held => write!(f, "connected before, all within {}", humantime::format_duration(HELD_WINDOW)),
        }
    }
}

impl FromStr for Arrival {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "write it as 1s or 60s, at most 1h, or as `hold`";
        if text == "hold" {
            return Ok(Self::Held);
        }
        let window: humantime::Duration = text.parse().map_err(|_| EXPECTED)?;
        if *window <= Duration::from_secs(3_600) { Ok(Self::Within(*window)) } else { Err(EXPECTED) }
    }
}

fn kill_time(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
    seconds.ok_or("write it in seconds, such as 0.5, at most 3600")
}

/// What stands of a crowd in its folder, so that it can be proved again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scene {
    people: u32,
    parts: u16,
    arrival: Arrival,
}

impl Scene {
    fn new(args: &CrowdArgs) -> anyhow::Result<Self> {
        let people = args.people;
        let parts = args.procs.unwrap_or(if people > ONE_PROCESS { people.div_ceil(ONE_PROCESS) as u16 } else { 1 });
        let most = u32::from(parts) * MOST;
        ensure!(people <= most, "{parts} processes play at most {most} people; let more play them with --procs");
        Ok(Self { people, parts, arrival: args.arrival })
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("crowd.json")
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = Self::file(folder);
        fs::write(&path, serde_json::to_vec(self)?).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = Self::file(folder);
        let json = fs::read(&path).with_context(|| format!("{} is no folder of a crowd (--keep)", folder.display()))?;
        serde_json::from_slice(&json).with_context(|| format!("{} is not what was written", path.display()))
    }

    /// The numbers of those that a part plays.
    fn part(&self, part: u16) -> std::ops::Range<u32> {
        let first = |part: u16| (u64::from(self.people) * u64::from(part) / u64::from(self.parts)) as u32;
        first(part)..first(part + 1)
    }

    fn file_of(folder: &Path, what: &str, part: u16) -> PathBuf {
        folder.join(format!("{what}.{part}"))
    }
}

pub(crate) fn run(args: &CrowdArgs) -> anyhow::Result<ExitCode> {
    let scene = Scene::new(args)?;
    let temporary = tempfile::tempdir().context("there is no temporary folder")?;
    let folder = match &args.keep {
        Some(kept) => {
            fs::create_dir(kept).with_context(|| format!("{} cannot be made; --keep wants a new folder", kept.display()))?;
            kept.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let findings = ending::run(sign_up(args, &scene, &folder))?;
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

async fn sign_up(args: &CrowdArgs, scene: &Scene, folder: &Path) -> anyhow::Result<Findings> {
    let mut own = args.server.server.is_none().then(|| Own::start(setup(args, folder)?)).transpose()?;
    let list = find(&args.server, own.as_ref()).await?;
    scene.write(folder)?;
    prepare(scene, &list, folder).await?;

    let mut parts = Vec::new();
    for part in 0..scene.parts {
        parts.push(Part::start(&plan(args, scene, &list, folder, part)?, folder, part)?);
    }
    for part in &mut parts {
        part.line().await?.filter(|line| line == "ready").context("a process of the crowd did not begin")?;
    }
    if let Some(own) = &mut own {
        own.clock_starts();
    }
    let start = Instant::now() + LEAD;
    let start_ms = SystemClock.now().after(LEAD).unix_ms();
    for part in &mut parts {
        part.stdin.write_all(format!("{start_ms}\n").as_bytes()).await.context("a process of the crowd ended early")?;
    }
    tokio::try_join!(watch(parts, scene.people), kill(own.as_mut(), start, &args.kill_at))?;
    let spent = own.as_ref().and_then(Own::spent);

    let (outcomes, proof) = hold_against(scene, folder, &list, args.server.database(folder)).await?;
    let mut findings = Findings::new(scene, args.server.database.is_some(), &outcomes, proof);
    findings.spent(spent);
    findings.is_straightforward = args.straightforward;
    findings.slow_fsync_ms = args.slow_fsync.map(|time| time.as_secs_f64() * 1_000.0);
    if let Some(own) = own {
        findings.kills_s.clone_from(&args.kill_at);
        findings.ready_s.clone_from(&own.ready_s);
        own.end()?;
    }
    Ok(findings)
}

fn setup(args: &CrowdArgs, folder: &Path) -> anyhow::Result<Setup> {
    let mut setup = args.server.setup(folder)?;
    setup.group_size = args.straightforward.then_some(1);
    if let Some(processes) = args.processes {
        setup.processes = Some(processes);
        // Several processes cannot share a port that the system chooses.
        setup.listen = Some([free_address()?, free_address()?]);
    }
    if let Some(time) = args.slow_fsync {
        setup.preload = Some(slow_disk::compile(folder)?);
        setup.environment = Some((slow_disk::VARIABLE, time.as_micros().to_string()));
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
    Ok(Plan {
        address: list.target.address,
        path: list.target.path.clone(),
        forms: Scene::file_of(folder, "forms", part),
        outcomes: Scene::file_of(folder, "outcomes", part),
        window_ms: ms(scene.arrival.window()),
        is_held: scene.arrival == Arrival::Held,
        longest_ms: ms(*args.longest),
        seed: rand::Rng::next_u64(&mut random()?),
    })
}

/// A process that plays a part. Dropped, it is killed.
struct Part {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    fn start(plan: &Plan, folder: &Path, part: u16) -> anyhow::Result<Self> {
        let path = Scene::file_of(folder, "plan", part);
        fs::write(&path, serde_json::to_vec(plan)?).with_context(|| format!("{} cannot be written", path.display()))?;
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = Command::new(own);
        command.arg("part").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("a process of the crowd cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("a process of the crowd cannot be heard")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> anyhow::Result<Option<String>> {
        self.lines.next_line().await.context("a process of the crowd cannot be heard")
    }
}

/// Until everybody is done.
async fn watch(parts: Vec<Part>, people: u32) -> anyhow::Result<()> {
    let progress = std::cell::RefCell::new(Progress::of_steps(u64::from(people), "people"));
    let done = std::cell::RefCell::new(vec![0_u64; parts.len()]);
    let watched = parts.into_iter().enumerate().map(|(number, mut part)| {
        let (progress, done) = (&progress, &done);
        async move {
            while let Some(line) = part.line().await? {
                done.borrow_mut()[number] = line.parse().unwrap_or_default();
                progress.borrow_mut().reach(done.borrow().iter().sum());
            }
            let status = part.child.wait().await?;
            ensure!(status.success(), "a process of the crowd failed ({status})");
            Ok(())
        }
    });
    futures::future::try_join_all(watched).await.map(drop)
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
    fn people_are_divided_among_the_parts_and_nobody_is_left_out() {
        let scene = Scene { people: 25_001, parts: 3, arrival: Arrival::Held };
        let parts: Vec<_> = (0..3).map(|part| scene.part(part)).collect();
        assert_eq!((parts[0].start, parts[2].end), (0, 25_001));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() > 8_000));
    }

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
