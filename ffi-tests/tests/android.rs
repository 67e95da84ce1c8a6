//! Kotlin for Android: compiled against stubs of its API, and run against fakes of it, through the real library.
#![expect(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use ffi_tests::android::Android;
use ffi_tests::kotlin::Toolchain;
use ffi_tests::root;

/// What is compiled and run, where the compilers and the descriptions of Android are to be had; named as skipped where they are not, unless this is CI.
fn android() -> Option<(Toolchain, Android)> {
    match Toolchain::find() {
        Ok(toolchain) => {
            let android = Android::compile(&toolchain).unwrap_or_else(|error| panic!("{error:#}"));
            Some((toolchain, android))
        }
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error:#}"),
        Err(error) => {
            eprintln!("skipped: Kotlin for Android: {error:#}");
            None
        }
    }
}

#[test]
fn every_kotlin_file_of_the_package_is_compiled() {
    let package = root().join("bindings/kotlin");
    let mut files = Vec::new();
    kotlin_files(&package, &mut files);
    let sources = package.join("src/main/kotlin/vigie");
    // What `Toolchain::bindings` and `Android::compile` take.
    let is_compiled = |file: &PathBuf| {
        file.parent() == Some(&sources)
            || [sources.join("ffi"), sources.join("android"), package.join("sample/src/main/kotlin")]
                .iter()
                .any(|part| file.starts_with(part))
    };
    let forgotten: Vec<_> = files.iter().filter(|file| !is_compiled(file)).collect();
    assert!(files.len() > 10 && forgotten.is_empty(), "not compiled by any test: {forgotten:?}");
    android();
}

#[test]
fn the_radio_the_service_and_the_vault_do_their_duties_on_a_fake_android() {
    let Some((toolchain, android)) = android() else { return };
    let written = android.run(&toolchain, &["Fakes.kt", "AndroidRadio.kt", "AndroidService.kt", "AndroidVault.kt"], "vigie.android.tests.AndroidRadioKt").unwrap();
    print!("{written}");
    assert!(written.contains(" passed, 0 failed\n"), "{written}");
}

fn kotlin_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kotlin_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "kt") {
            files.push(path);
        }
    }
}
