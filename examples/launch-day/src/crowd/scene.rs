//! Who comes when, and where it stands in the folder of a crowd.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// People for whom one process has descriptors: two processes play more.
const ONE_PROCESS: u32 = 15_000;

/// The most that one process is given.
const MOST: u32 = 19_000;

/// Connections for each process of a backend that is to hold them all: it accepts 16,000, and the system does not spread them evenly.
const HELD_BY_ONE: u32 = 15_000;

/// Within this time those post who are all connected before.
const HELD_WINDOW: Duration = Duration::from_secs(1);

/// When they come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Arrival {
    Within(Duration),
    Held,
    /// More than can be served, then as many as usual: this part of all.
    Overload {
        lasts: Duration,
        rest: Duration,
        share: f64,
    },
}

impl Arrival {
    pub(super) fn window(self) -> Duration {
        match self {
            Self::Within(window) => window,
            Self::Overload { lasts, .. } => lasts,
            Self::Held => HELD_WINDOW,
        }
    }
}

/// So many processes does a backend need to hold so many connections.
pub(super) fn processes_that_hold(connections: u32) -> u16 {
    connections.div_ceil(HELD_BY_ONE).max(1) as u16
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(window) => write!(f, "within {}", humantime::format_duration(*window)),
            Self::Held => write!(f, "connected before, all within {}", humantime::format_duration(HELD_WINDOW)),
            Self::Overload { lasts, rest, .. } => {
                let format = humantime::format_duration;
                write!(f, "too many for {}, then as many as usual for {}", format(*lasts), format(*rest))
            }
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

/// What stands of a crowd in its folder, so that it can be proved again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scene {
    pub(super) people: u32,
    pub(super) parts: u16,
    pub(super) arrival: Arrival,
}

impl Scene {
    /// `idle` connections are held beside the people.
    ///
    /// # Errors
    /// Where so many processes cannot hold so many.
    pub(super) fn new(people: u32, idle: u32, arrival: Arrival, processes: Option<u16>) -> anyhow::Result<Self> {
        let held = people.saturating_add(idle);
        let parts = processes.unwrap_or(if held > ONE_PROCESS { held.div_ceil(ONE_PROCESS) as u16 } else { 1 });
        let most = u32::from(parts) * MOST;
        ensure!(held <= most, "{parts} processes play at most {most} people; let more play them with --procs");
        Ok(Self { people, parts, arrival })
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("crowd.json")
    }

    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = Self::file(folder);
        fs::write(&path, serde_json::to_vec(self)?).with_context(|| format!("{} cannot be written", path.display()))
    }

    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = Self::file(folder);
        let json = fs::read(&path).with_context(|| format!("{} is no folder of a crowd (--keep)", folder.display()))?;
        serde_json::from_slice(&json).with_context(|| format!("{} is not what was written", path.display()))
    }

    /// The numbers of those that a part plays.
    pub(super) fn part(&self, part: u16) -> std::ops::Range<u32> {
        let first = |part: u16| (u64::from(self.people) * u64::from(part) / u64::from(self.parts)) as u32;
        first(part)..first(part + 1)
    }

    pub(super) fn file_of(folder: &Path, what: &str, part: u16) -> PathBuf {
        folder.join(format!("{what}.{part}"))
    }
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
    fn a_backend_gets_a_process_for_each_15_000_connections_that_it_is_to_hold() {
        let processes = [0, 1, 15_000, 15_001, 25_000, 30_000, 260_000].map(processes_that_hold);
        assert_eq!(processes, [1, 1, 1, 2, 2, 2, 18]);
    }

    #[test]
    fn a_crowd_that_one_process_cannot_hold_is_played_by_several() {
        let parts = |people, idle, processes| Scene::new(people, idle, Arrival::Held, processes).map(|scene| scene.parts).ok();
        assert_eq!((parts(15_000, 0, None), parts(15_000, 1, None), parts(25_000, 10_000, None)), (Some(1), Some(2), Some(3)));
        assert_eq!((parts(19_000, 0, Some(1)), parts(19_000, 1, Some(1))), (Some(1), None));
    }
}
