//! Kotlin for Android without Android: its API as stubs to compile against, and as fakes to test with.
//!
//! ```text
//! PyPI chaquopy-stubs-android, npm @nativescript/types-android -> ffi-tests/android/stubs.py -> javac -> stubs.jar, fakes.jar
//! bindings/kotlin, its sample -> kotlinc with stubs.jar        ffi-tests/android/*.kt -> kotlinc with fakes.jar -> java
//! ```
//!
//! Both descriptions are of API 36 and 37. WorkManager is in neither; what Vigie uses of it is written by hand (`androidx_work.kt`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use sha2::{Digest, Sha256};

use crate::kotlin::{Toolchain, hash, lock};
use crate::process::output;
use crate::python::environment;
use crate::{cache, root};

/// What is fetched: its name and version, the file that it is, and that file's SHA-256. The first is of PyPI.
const NAMES: Archive = (
    "chaquopy-stubs-android==36.20260406",
    "chaquopy_stubs_android-36.20260406-py3-none-any.whl",
    "5e18511ccb7ae519d8c4643408cf16262fa5f20eb1d1a7e97cfe28de16e12008",
);
/// The second is of npm.
const TYPES: Archive = (
    "@nativescript/types-android@9.1.1",
    "nativescript-types-android-9.1.1.tgz",
    "16193ea9c70286d5b0d3e2dc559abb483ad61fb599219c59d1a4146fe370b25a",
);

type Archive = (&'static str, &'static str, &'static str);

/// Vigie for Android, compiled, and what its tests need.
#[derive(Debug, Clone)]
pub struct Android {
    /// All of `bindings/kotlin`, and what it needs but Android.
    pub bindings: Vec<PathBuf>,
    /// Android, to run against.
    pub fakes: PathBuf,
}

impl Android {
    /// Compiles every Kotlin file of `bindings/kotlin` against stubs of Android; fetches what they are made from where it is not there yet.
    ///
    /// # Errors
    /// Names what is to be installed, or says what a compiler says.
    pub fn compile(toolchain: &Toolchain) -> anyhow::Result<Self> {
        let folder = cache("android")?;
        let (stubs, fakes) = api(&folder)?;
        let plain = toolchain.bindings()?;
        let package = root().join("bindings/kotlin");
        let compile = |sources: &Path, classpath: &[PathBuf], name: &str| {
            let jar = folder.join(name);
            toolchain.compile(&[sources.to_path_buf()], &[classpath, std::slice::from_ref(&stubs)].concat(), &jar).map(|()| jar)
        };
        let work = compile(&root().join("ffi-tests/android/androidx_work.kt"), &plain, "work.jar")?;
        let needed = [vec![work], plain].concat();
        let android = compile(&package.join("src/main/kotlin/vigie/android"), &needed, "vigie-android.jar")?;
        let bindings = [vec![android], needed].concat();
        compile(&package.join("sample/src/main/kotlin"), &bindings, "sample.jar")?;
        Ok(Self { bindings, fakes })
    }

    /// Compiles files of `ffi-tests/android` against the fakes, and runs the program in them. Gives what it writes.
    ///
    /// # Errors
    /// What the compiler says, or what the program wrote where it fails.
    pub fn run(&self, toolchain: &Toolchain, files: &[&str], main: &str) -> anyhow::Result<String> {
        let sources: Vec<_> = files.iter().map(|file| root().join("ffi-tests/android").join(file)).collect();
        let classpath = [self.bindings.as_slice(), std::slice::from_ref(&self.fakes)].concat();
        let program = cache("android")?.join("tests.jar");
        toolchain.compile(&sources, &classpath, &program)?;
        toolchain.run(&[vec![program], classpath].concat(), main, &[], &[])
    }
}

/// Android's API, as jars of stubs and of fakes; made once.
fn api(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let _lock = lock(folder)?;
    let sources = root().join("ffi-tests/android");
    let (script, classes) = (sources.join("stubs.py"), sources.join("classes.txt"));
    let jars = (folder.join("stubs.jar"), folder.join("fakes.jar"));
    let (kept, sum) = (folder.join("api.sum"), hash(&[NAMES.2, TYPES.2], &[script.clone(), classes.clone()], &[])?);
    if jars.0.exists() && jars.1.exists() && fs::read_to_string(&kept).is_ok_and(|kept| kept == sum) {
        return Ok(jars);
    }
    fetch(folder)?;
    for (kind, jar) in [("stubs", &jars.0), ("fakes", &jars.1)] {
        let (java, class) = (folder.join(format!("{kind}-java")), folder.join(format!("{kind}-class")));
        for old in [&java, &class] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        let descriptions = ["pyi", "package/lib/android/android-platform-37.d.ts"];
        output(Command::new("python3").arg(&script).arg(kind).args(descriptions).arg(&classes).arg(&java).current_dir(folder))?;
        let mut files = Vec::new();
        java_files(&java, &mut files)?;
        output(
            Command::new("javac")
                .args(["-nowarn", "-Xlint:none", "--release", "17", "-d"])
                .arg(&class)
                .args(files)
                .current_dir(folder),
        )?;
        output(Command::new("jar").arg("cf").arg(jar).arg("-C").arg(&class).arg(".").current_dir(folder))?;
    }
    fs::write(kept, sum)?;
    Ok(jars)
}

fn fetch(folder: &Path) -> anyhow::Result<()> {
    let python = environment()?;
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", ".", NAMES.0];
    fetch_one(folder, Command::new(&python).args(pip), &NAMES)?;
    output(Command::new(&python).args(["-m", "zipfile", "-e", NAMES.1, "pyi"]).current_dir(folder))?;
    fetch_one(folder, Command::new("npm").args(["pack", "--silent", TYPES.0]), &TYPES)?;
    output(Command::new("tar").args(["xzf", TYPES.1]).current_dir(folder))?;
    Ok(())
}

/// Fetches it, where it is not there yet, and compares.
fn fetch_one(folder: &Path, client: &mut Command, (_, name, expected): &Archive) -> anyhow::Result<()> {
    let file = folder.join(name);
    if !file.exists() {
        output(client.current_dir(folder))?;
    }
    let sum = hex::encode(Sha256::digest(fs::read(&file)?));
    ensure!(&sum == expected, "{} is another one than this repository was tested with: {sum}", file.display());
    Ok(())
}

fn java_files(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            java_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
