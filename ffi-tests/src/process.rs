//! Programs that tests need: compilers, interpreters, archivers.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A program that runs for longer hangs.
const PATIENCE: Duration = Duration::from_secs(480);

/// Between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(20);

/// What a program writes to its standard output.
///
/// # Errors
/// All that it wrote, where it fails or hangs.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (mut written, mut complaints) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(written.try_clone()?).stderr(complaints.try_clone()?);
    let mut program = command.spawn().with_context(|| name.clone())?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = program.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > PATIENCE {
            program.kill()?;
            program.wait()?;
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let text = read(&mut written)?;
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => bail!("{name}: {status}\n{text}{}", read(&mut complaints)?),
        None => bail!("{name} was still running after {} s\n{text}{}", PATIENCE.as_secs(), read(&mut complaints)?),
    }
}

fn read(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
