//! How the program says that it could not do what was asked.
//!
//! ```text
//! error: keys.zip cannot be written
//!   cause: File exists (os error 17)
//!   next: choose another name, or --force to overwrite it
//! ```

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::output::{BAD, CAUTION, QUIET};

/// The answer is no: a file is not valid, or warning and truth disagree.
pub(crate) const NO: u8 = 1;
/// The program was used wrongly, or what it was given cannot be read. Clap uses the same.
pub(crate) const FAILED: u8 = 2;
/// Whoever read the output went away. A shell says the same of a program that SIGPIPE ended.
const OUTPUT_CLOSED: u8 = 141;

/// What the user can do about an error.
#[derive(Debug)]
struct Advice(&'static str);

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Adds the next step to an error.
pub(crate) trait Advise<T> {
    /// `next` is an imperative.
    fn advise(self, next: &'static str) -> anyhow::Result<T>;
}

impl<T> Advise<T> for anyhow::Result<T> {
    fn advise(self, next: &'static str) -> anyhow::Result<T> {
        self.map_err(|e| e.context(Advice(next)))
    }
}

/// Tells the user of an error on stderr, and says how the program shall end.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::from(OUTPUT_CLOSED);
    }
    // Where stderr is closed, nobody listens.
    let _ = write(&mut anstream::stderr().lock(), error);
    ExitCode::from(FAILED)
}

/// Tells the user on stderr of something that ended nothing.
pub(crate) fn warn(text: &str) -> io::Result<()> {
    writeln!(anstream::stderr(), "{CAUTION}warning:{CAUTION:#} {text}")
}

fn write(to: &mut impl Write, error: &anyhow::Error) -> io::Result<()> {
    let advice = error.downcast_ref::<Advice>().map(|advice| advice.0);
    let causes = error.chain().map(ToString::to_string).filter(|text| Some(text.as_str()) != advice);
    for (i, text) in causes.enumerate() {
        match i {
            0 => writeln!(to, "{BAD}error:{BAD:#} {text}")?,
            _ => writeln!(to, "  {QUIET}cause:{QUIET:#} {text}")?,
        }
    }
    advice.map_or(Ok(()), |advice| writeln!(to, "  {QUIET}next:{QUIET:#} {advice}"))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes_and_the_next_step() {
        let error = Err::<(), _>(anyhow!("no such file")).advise("look again").context("keys.zip cannot be read").unwrap_err();
        let mut text = anstream::StripStream::new(Vec::new());
        write(&mut text, &error).unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        assert_eq!(text, "error: keys.zip cannot be read\n  cause: no such file\n  next: look again\n");
    }
}
