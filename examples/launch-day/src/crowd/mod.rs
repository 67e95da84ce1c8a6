//! `launch-day`: a crowd that signs up in the same minute, and the proof that nobody lost anything.
//!
//! ```text
//! forms, sealed and stored -> parts (processes) -> everybody signs up, repeats as their Pacer says    the server is killed and started meanwhile
//!                                               -> outcomes -> proof (receipts, database, repeats) -> table or JSON, plot
//! ```
//!
//! Nobody waits for anybody: who comes at a time comes then, whatever became of the others. Only what is sent is made up.

mod args;
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
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use vigie::time::{Clock, SystemClock};

use crate::backend::Setup;
use crate::ending;
use crate::progress::Progress;
use crate::slow_disk::SlowDisk;
use args::ServerArgs;
use findings::Findings;
use part::Plan;
use parts::Part;
use person::Outcome;
use proof::{Database, Holder, Proof};
use scene::{Arrival, Scene};
use server::{List, Own};

pub(crate) use args::{CrowdArgs, ProveArgs};
pub(crate) use part::{PartArgs, run as play};

/// From the word to the start of the clock: every part has heard it by then.
const LEAD: Duration = Duration::from_millis(300);

/// The server opens and confirms what it has taken in before the proof asks it again, so that the proof's requests are not counted with it. Where nothing
/// was done for so long, it is not waited for: mails that were under way when it was killed come after ten minutes.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);

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
    let slow =
        args.slow_fsync.map(|time| SlowDisk::new(folder, args.slow_disk.as_deref(), args.server.database.as_deref(), time));
    let slow = slow.transpose()?;
    let mut own = args.server.server.is_none().then(|| Own::start(setup(args, folder, slow)?)).transpose()?;
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

    if let Some(own) = own.as_deref_mut() {
        own.crowd_connects();
    }
    let mut parts = Vec::new();
    for part in 0..scene.parts {
        parts.push(Part::start(&plan(args, scene, &list, folder, part)?, folder, part)?);
    }
    for part in &mut parts {
        part.line().await?.filter(|line| line == "ready").context("a process of the crowd did not begin")?;
    }
    let held = match &own {
        Some(own) if scene.arrival == Arrival::Held => own.holds(connections(args, scene)).await?,
        _ => None,
    };
    // From here on nobody is waited for: the backend ends a connection on which nothing is sent.
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
    findings.connections_held = held;
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
    if let Some(processes) = args.backend_processes() {
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

/// Connections that each part holds beside its people.
fn idle(args: &CrowdArgs, scene: &Scene) -> u32 {
    args.idle / u32::from(scene.parts)
}

/// All that are opened before the clock starts, where everybody is connected before.
fn connections(args: &CrowdArgs, scene: &Scene) -> u32 {
    scene.people + idle(args, scene) * u32::from(scene.parts)
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
        idle: idle(args, scene),
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
        holders.extend(people.into_iter().zip(&of_part).map(|(person, outcome)| Holder::new(person, outcome)));
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
