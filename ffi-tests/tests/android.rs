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
    let written = android
        .run(
            &toolchain,
            &["Fakes.kt", "AndroidRadio.kt", "AndroidService.kt", "AndroidVault.kt"],
            "vigie.android.tests.AndroidRadioKt",
        )
        .unwrap();
    print!("{written}");
    assert!(written.contains(" passed, 0 failed\n"), "{written}");
}

/// What an app can see of the package, so that every change of it shows in review.
#[test]
fn the_surface_is_the_one_that_was_reviewed() {
    let Some((toolchain, android)) = android() else { return };
    let shown = public_names(&root().join("bindings/kotlin/src/main/kotlin/vigie/android"));
    let is_shown = |package: &str, name: &str| {
        let outermost = name.split('$').next().unwrap_or(name);
        package == "vigie.android" && shown.iter().any(|shown| shown == outermost)
    };
    let surface = toolchain.surface(&android.bindings, is_shown).unwrap();
    let path = root().join("bindings/kotlin/api-android.txt");
    if std::env::var_os("VIGIE_GENERATE").is_some() {
        std::fs::write(&path, &surface).unwrap();
    }
    if std::fs::read_to_string(&path).unwrap_or_default() != surface {
        panic!("{} is not the surface now: VIGIE_GENERATE=1 cargo test -p ffi-tests --test android surface", path.display());
    }
}

/// The classes that these files show. `javap` cannot say: what is `internal` in Kotlin is public on the JVM.
fn public_names(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    kotlin_files(folder, &mut files);
    let mut names = Vec::new();
    for file in &files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            match line.split([' ', '(', ':', '<']).collect::<Vec<_>>()[..] {
                ["class" | "object" | "interface", name, ..] | ["enum", "class", name, ..] => names.push(name.to_owned()),
                // Functions of a file are those of a class by its name.
                ["fun", ..] => names.push(format!("{}Kt", file.file_stem().unwrap().to_string_lossy())),
                _ => {}
            }
        }
    }
    names
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
