//! The store that a command works on.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use etcetera::BaseStrategy;
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use vigie::radio::Radio;
use vigie::store::{Opened, Store};
use vigie::time::{Clock, Timestamp};
use vigie::tracer::{Config, Event, Tracer};

use crate::failure::{Advise, warn};

/// The store of this user: `vigie/store.db` where the system keeps a user's data (`$XDG_DATA_HOME`, or `~/.local/share`, on Linux).
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    let system = etcetera::base_strategy::choose_native_strategy()
        .context("the folder for the user's data is not known")
        .advise("name a store: --store DB")?;
    Ok(system.data_dir().join("vigie").join("store.db"))
}

/// The store that was named, or that of this user.
pub(crate) fn path(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    named.map_or_else(default_path, |path| Ok(path.to_path_buf()))
}

/// The store that was named, or that of the user, whose folder is made.
pub(crate) fn path_to_make(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let path = default_path()?;
    let folder = path.parent().unwrap_or(&path);
    make_private(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))
        .advise("look at who may write there, or name a store: --store DB")?;
    Ok(path)
}

/// Makes a folder for its owner alone, with all that is missing above it.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Refuses a store that is not there: made by a slip of the pen, it would answer that nobody was met.
pub(crate) fn must_exist(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be used", path.display());
    if path.try_exists().with_context(cannot)? {
        return Ok(());
    }
    Err(anyhow!("there is no store {}", path.display())).advise("look at the name; `vigie run` and `vigie replay` make a new one")
}

/// Opens a store to look into it.
pub(crate) fn open(path: &Path, now: Timestamp) -> anyhow::Result<Store> {
    let (store, opened) =
        Store::open(path, now, &mut random_source()?).with_context(|| format!("{} cannot be used", path.display()))?;
    if let Opened::Recovered { own_keys, alerts, .. } = opened {
        tell_recovery(own_keys, alerts)?;
    }
    Ok(store)
}

/// A tracer on a store, with a radio. What it tells, of damage too, is left to whoever takes its events.
pub(crate) fn open_tracing(config: Config, path: &Path, radio: Radio, clock: impl Clock + 'static) -> anyhow::Result<Tracer> {
    Tracer::open(config, path, radio, clock, random_source()?).with_context(|| format!("{} cannot be used", path.display()))
}

/// A tracer on a store, without a radio.
pub(crate) fn open_tracer(config: Config, path: &Path, clock: impl Clock + 'static) -> anyhow::Result<Tracer> {
    let tracer = open_tracing(config, path, Radio::default(), clock)?;
    while let Some(event) = tracer.next_event() {
        if let Event::StoreRecovered { own_keys, alerts } = event {
            tell_recovery(own_keys, alerts)?;
        }
    }
    Ok(tracer)
}

/// Seeded by the operating system.
pub(crate) fn random_source() -> anyhow::Result<ChaCha20Rng> {
    ChaCha20Rng::try_from_rng(&mut SysRng).context("the system gives no random numbers")
}

/// It is said once: the store forgets it.
fn tell_recovery(own_keys: usize, alerts: usize) -> io::Result<()> {
    warn(&format!(
        "the store was damaged and begun anew; {own_keys} own keys and {alerts} alerts were saved, what was heard is lost"
    ))
}
