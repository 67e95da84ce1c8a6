//! One process of the crowd: it reads its people from their file, waits for the word, plays them, and writes what became of them.
//!
//! ```text
//! stdin    <- the moment at which the clock starts, in ms since 1970      stdout  -> "ready", then how many are done, now and again, then "done"
//! ```
//!
//! A process may hold 20,000 descriptors on many machines, so a large crowd is played by several. Where stdin ends, the one that started it is gone, and
//! it ends, too.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, timeout};
use vigie::time::{Clock, SystemClock, Timestamp};

use super::forms;
use super::person::{Course, Outcome, PATIENCE, Target, stream};

/// Connections that are being opened at once before the clock starts: more are lost in the system's queue.
const OPENING: usize = 128;

/// The last line: everybody is done.
pub(super) const DONE: &str = "done";

/// How often it is told how many are done.
const TELL: Duration = Duration::from_millis(250);

/// When a connection on which nothing is sent is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// Addresses that connections come from, where the system has them: one has 28,000 ports.
const SOURCES: u32 = 16;

/// Where everything that has to be known stands.
#[derive(Debug, Clone, Args)]
pub(crate) struct PartArgs {
    plan: PathBuf,
}

/// What is played.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    /// Of the sign-up, on that server.
    pub(super) path: String,
    pub(super) forms: PathBuf,
    pub(super) outcomes: PathBuf,
    /// Everybody comes within this time.
    pub(super) window_ms: u64,
    /// Everybody is connected before it begins.
    pub(super) is_held: bool,
    /// This part of them comes within a time after it.
    pub(super) later: f64,
    pub(super) later_ms: u64,
    /// So many connections are held beside them, on which nothing is sent.
    pub(super) idle: u32,
    /// All connections come from the same address.
    pub(super) has_one_address: bool,
    /// No attempt begins after this time.
    pub(super) longest_ms: u64,
    pub(super) seed: u64,
}

pub(crate) fn run(args: &PartArgs) -> anyhow::Result<ExitCode> {
    let plan: Plan = serde_json::from_slice(&fs::read(&args.plan).context("the plan cannot be read")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("there is no network")?;
    let outcomes = LocalSet::new().block_on(&runtime, play(&plan))?;
    write(&plan.outcomes, &outcomes)?;
    Ok(ExitCode::SUCCESS)
}

/// What became of the people in a file, in its order.
///
/// # Errors
/// Where there is no such file.
pub(super) fn outcomes(path: &Path) -> anyhow::Result<Vec<Outcome>> {
    let json = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is not what was written", path.display()))
}

fn write(path: &Path, outcomes: &[Outcome]) -> anyhow::Result<()> {
    fs::write(path, serde_json::to_vec(outcomes)?).with_context(|| format!("{} cannot be written", path.display()))
}

/// What all people of a part share.
#[derive(Clone)]
struct Part {
    opening: Rc<Semaphore>,
    opened: Rc<Cell<usize>>,
    done: Rc<Cell<usize>>,
    /// Why somebody has no connection who should be held.
    unconnected: Rc<Cell<Option<std::io::Error>>>,
    started: watch::Receiver<Option<(Instant, Timestamp)>>,
}

impl Part {
    /// One person to the end; with a connection that is held until so long after the start, if that is said.
    async fn play(mut self, mut course: Course, arrives: Duration, held: Option<Duration>, longest: Duration) -> Option<Outcome> {
        if held.is_some() {
            let _turn = self.opening.acquire().await;
            self.unconnected.set(course.connect().await.err().or(self.unconnected.take()));
        }
        self.opened.set(self.opened.get() + 1);
        // Without a word nobody wants to know.
        let (start, at) = self.started.wait_for(Option::is_some).await.map(|word| *word).ok().flatten()?;
        tokio::time::sleep_until(start + arrives).await;
        let outcome = course.sign_up((start, at), arrives, longest).await;
        self.done.set(self.done.get() + 1);
        if let Some(held) = held {
            tokio::time::sleep_until(start + held).await;
        }
        Some(outcome)
    }
}

async fn play(plan: &Plan) -> anyhow::Result<Vec<Outcome>> {
    let people = forms::read(&plan.forms)?;
    let mut rng = ChaCha20Rng::seed_from_u64(plan.seed);
    let (starts, started) = watch::channel(None);
    let opening = Rc::new(Semaphore::new(OPENING));
    let part = Part { opening, opened: Rc::default(), done: Rc::default(), unconnected: Rc::default(), started };
    let count = people.len() + plan.idle as usize;
    let idle: Vec<_> = (0..plan.idle)
        .map(|number| tokio::task::spawn_local(hold(target(plan, number), Rc::clone(&part.opening), Rc::clone(&part.opened))))
        .collect();
    let longest = Duration::from_millis(plan.longest_ms);
    let held = plan.is_held.then(|| Duration::from_millis(plan.window_ms));
    let playing: Vec<JoinHandle<_>> = (0..)
        .zip(people)
        .map(|(number, person): (u32, _)| {
            let arrives = arrival(plan, &mut rng);
            let course = Course::new(person, target(plan, number), ChaCha20Rng::from_rng(&mut rng));
            tokio::task::spawn_local(part.clone().play(course, arrives, held, longest))
        })
        .collect();
    while part.opened.get() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if let Some(error) = part.unconnected.take() {
        return Err(error).context("not everybody can be connected; with more --procs each process connects fewer");
    }
    let start_ms = word().await?;
    let ahead = Timestamp::from_unix_ms(start_ms).since(SystemClock.now());
    starts.send_replace(Some((Instant::now() + ahead, Timestamp::from_unix_ms(start_ms))));
    let telling = tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(TELL).await;
            tell(&part.done.get().to_string());
        }
    });
    let outcomes = join_all(playing).await;
    telling.abort();
    idle.iter().for_each(JoinHandle::abort);
    tell(DONE);
    outcomes.into_iter().map(|outcome| outcome.ok().flatten().context("somebody was lost in the crowd itself")).collect()
}

fn target(plan: &Plan, number: u32) -> Target {
    let has_many = cfg!(target_os = "linux") && !plan.has_one_address;
    let source = has_many.then(|| Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8));
    Target { address: plan.address, source, path: plan.path.clone() }
}

fn arrival(plan: &Plan, rng: &mut ChaCha20Rng) -> Duration {
    let (window, later) = (Duration::from_millis(plan.window_ms), Duration::from_millis(plan.later_ms));
    if plan.later > 0.0 && rng.random_bool(plan.later) {
        window + later.mul_f64(rng.random())
    } else {
        window.mul_f64(rng.random())
    }
}

/// Holds a connection on which nothing is sent. Where the server ends it, another one is made.
async fn hold(target: Target, opening: Rc<Semaphore>, opened: Rc<Cell<usize>>) {
    let mut is_first = true;
    loop {
        let turn = opening.acquire().await;
        let connection = timeout(PATIENCE, stream(&target)).await;
        drop(turn);
        if std::mem::take(&mut is_first) {
            opened.set(opened.get() + 1);
        }
        if let Ok(Ok(mut connection)) = connection {
            // It says nothing, so this is its end.
            let _ = connection.read(&mut [0]).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Says that everything is ready, and waits for the moment at which the clock starts. Ends the process where the one that started it goes away.
async fn word() -> anyhow::Result<i64> {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    // It waits for a line to the very end, so it is no task of the runtime, which would wait for it.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Some(sender) = sender.take() else { continue };
            let _ = sender.send(line.ok().and_then(|line| line.trim().parse().ok()));
        }
        std::process::exit(i32::from(crate::FAILED));
    });
    tell("ready");
    receiver.await.ok().flatten().context("there was no word to start")
}

fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // Who does not listen does not want to know.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
