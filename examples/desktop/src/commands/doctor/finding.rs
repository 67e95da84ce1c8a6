//! One thing that was found, and the next step.

use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use crate::output::{BAD, CAUTION, GOOD, QUIET};

/// How it stands. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// It works, but less well than it should.
    Caution,
    /// It does not work.
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// A name for machines.
    pub(super) about: &'static str,
    pub(super) state: State,
    /// One line.
    pub(super) found: String,
    /// What to do; always there where it is not ok.
    pub(super) next: Option<String>,
}

impl State {
    pub(super) fn style(self) -> Style {
        match self {
            Self::Ok => GOOD,
            Self::Caution => CAUTION,
            Self::Bad => BAD,
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Caution => "caution",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    pub(super) fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, state: State::Ok, found: found.into(), next: None }
    }

    pub(super) fn caution(about: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { about, state: State::Caution, found: found.into(), next: Some(next.into()) }
    }

    pub(super) fn bad(about: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { about, state: State::Bad, found: found.into(), next: Some(next.into()) }
    }

    /// Its lines; what follows the first is indented.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let style = self.state.style();
        writeln!(to, "{style}{:<7}{style:#}  {}: {}", self.state.mark(), self.about.replace('_', " "), self.found)?;
        for (i, line) in self.next.iter().flat_map(|next| next.lines()).enumerate() {
            match i {
                0 => writeln!(to, "         {QUIET}next:{QUIET:#} {line}")?,
                _ => writeln!(to, "         {line}")?,
            }
        }
        Ok(())
    }
}
