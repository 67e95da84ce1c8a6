//! What the tests of each language share: the built library, the code that is generated of it, and the compilers.

pub mod android;
mod control;
mod generated;
pub mod kotlin;
mod process;
mod python;
pub mod swift;

use std::path::{Path, PathBuf};

pub use control::{Control, full_disk};
pub use generated::{Generated, generate};
pub use process::output;
pub use python::python;

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A folder for what is fetched or compiled once: below the target folder that the running test lies in, which is `target/PROFILE/deps`.
///
/// # Errors
/// Where the system does not say where the test lies, or the folder cannot be made.
pub fn cache(name: &str) -> anyhow::Result<PathBuf> {
    let target = deps()?.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default();
    let folder = target.join("ffi").join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The shared library, as it was built with this test.
///
/// # Errors
/// Where there is none.
pub fn library() -> anyhow::Result<PathBuf> {
    let name = format!("{}vigie_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = deps()?.join(name);
    anyhow::ensure!(library.exists(), "{} is not there; cargo builds it with the tests", library.display());
    Ok(library)
}

fn deps() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // A doctest, an example or a program lies elsewhere, and none of them is here.
    Ok(test.parent().map(Path::to_path_buf).unwrap_or_default())
}
