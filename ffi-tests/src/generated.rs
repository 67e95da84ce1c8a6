//! The code that uniffi generates of the library, as it is committed beside each package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use camino::Utf8PathBuf;
use uniffi::{GenerateOptions, TargetLanguage};

use crate::{library, root};

/// A generated file, and where it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Below the root of the workspace.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Where each file goes.
const FILES: [(TargetLanguage, &str, &str); 5] = [
    (TargetLanguage::Kotlin, "vigie/ffi/vigie_ffi.kt", "bindings/kotlin/src/main/kotlin/vigie/ffi/vigie_ffi.kt"),
    (TargetLanguage::Python, "vigie_ffi.py", "bindings/python/vigie/vigie_ffi.py"),
    (TargetLanguage::Swift, "VigieFFI.swift", "bindings/swift/Sources/VigieFFI/VigieFFI.swift"),
    (TargetLanguage::Swift, "VigieFFIC.h", "bindings/swift/Sources/VigieFFIC/include/VigieFFIC.h"),
    (TargetLanguage::Swift, "VigieFFIC.modulemap", "bindings/swift/Sources/VigieFFIC/include/module.modulemap"),
];

/// Generates all of it anew, into a folder of its own.
///
/// # Errors
/// Where the library is not there, or the generator fails.
pub fn generate(folder: &Path) -> anyhow::Result<Vec<Generated>> {
    let utf8 = |path: PathBuf| Utf8PathBuf::from_path_buf(path).map_err(|path| anyhow::anyhow!("{} is no text", path.display()));
    uniffi::generate(GenerateOptions {
        languages: vec![TargetLanguage::Kotlin, TargetLanguage::Python, TargetLanguage::Swift],
        source: utf8(library()?)?,
        out_dir: utf8(folder.to_path_buf())?,
        config_override: None,
        format: false,
        crate_filter: None,
        metadata_no_deps: true,
    })?;
    let read = |(_, from, to): &(TargetLanguage, &str, &str)| {
        let text = fs::read_to_string(folder.join(from)).with_context(|| format!("uniffi did not write {from}"))?;
        // Whatever editors do at the ends of lines.
        let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
        Ok(Generated { path: root().join(to), text })
    };
    FILES.iter().map(read).collect()
}
