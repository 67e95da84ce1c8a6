//! Kotlin on the JVM: its compiler at one version, what the generated code needs, and programs that are compiled once and run.
//!
//! The compiler is the npm package `kotlin-compiler`, fetched into the target folder on first use; it brings kotlinx-coroutines. Java and JNA are those of
//! the system.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::process::output;
use crate::{cache, library, root};

/// The compiler's version, and the SHA-256 of its archive.
const VERSION: &str = "2.4.20";
const ARCHIVE: &str = "c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f";

/// JNA, where Debian's package puts it. The one inside the compiler is too old for the generated code.
const JNA: &str = "/usr/share/java/jna.jar";

/// What compiles and runs Kotlin.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The unpacked compiler.
    package: PathBuf,
}

impl Toolchain {
    /// Finds Java and JNA, and fetches the compiler where it is not there yet.
    ///
    /// # Errors
    /// Names what is to be installed.
    pub fn find() -> anyhow::Result<Self> {
        let has = |program: &str, argument: &str| {
            Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        ensure!(has("javac", "-version"), "no Java: install a JDK, 17 or later (Debian: openjdk-17-jdk-headless)");
        ensure!(Path::new(JNA).exists(), "no JNA: install it (Debian: apt-get install libjna-java libjna-jni)");
        let folder = cache("kotlin")?;
        let _lock = lock(&folder)?;
        let package = folder.join("package");
        if !package.join("complete").exists() {
            ensure!(
                has("npm", "--version"),
                "no npm, which fetches the Kotlin compiler: install it (Debian: apt-get install npm)"
            );
            fetch(&folder)?;
            fs::write(package.join("complete"), VERSION)?;
        }
        Ok(Self { package })
    }

    /// Vigie for Kotlin, compiled: what is generated, and what is written by hand for every JVM. With what they need.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn bindings(&self) -> anyhow::Result<Vec<PathBuf>> {
        let sources = root().join("bindings/kotlin/src/main/kotlin/vigie");
        let folder = cache("kotlin")?;
        let (ffi, vigie) = (folder.join("vigie-ffi.jar"), folder.join("vigie.jar"));
        // Whatever the generator leaves unused is not ours.
        self.compile_with(&["-nowarn"], &[sources.join("ffi")], &self.libraries(), &ffi)?;
        let classpath = [vec![ffi], self.libraries()].concat();
        self.compile(&files(&sources)?, &classpath, &vigie)?;
        Ok([vec![vigie], classpath].concat())
    }

    /// Compiles files and folders of Kotlin into a jar, unless it is there already from the same inputs. Warnings are errors.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile(&self, sources: &[PathBuf], classpath: &[PathBuf], jar: &Path) -> anyhow::Result<()> {
        self.compile_with(&["-Werror"], sources, classpath, jar)
    }

    /// Runs a program, whose class path holds [`bindings`](Self::bindings), with the library that was built with this test. Gives what it writes.
    ///
    /// # Errors
    /// What it wrote, where it fails or hangs.
    pub fn run(&self, classpath: &[PathBuf], main: &str, env: &[(&str, OsString)], args: &[&str]) -> anyhow::Result<String> {
        let mut library_override = OsString::from("-Duniffi.component.vigie_ffi.libraryOverride=");
        library_override.push(library()?);
        output(
            Command::new("java")
                .arg(library_override)
                .args(["-ea", "-Xmx512m", "-cp"])
                .arg(self.class_path(classpath)?)
                .arg(main)
                .args(args)
                .envs(env.iter().map(|(name, value)| (name, value))),
        )
        .context(main.to_owned())
    }

    /// What these jars show to an app, as `javap` writes it, without the machinery of uniffi: the classes that are shown, by package and name.
    ///
    /// # Errors
    /// What `javap` says.
    pub fn surface(&self, jars: &[PathBuf], is_shown: impl Fn(&str, &str) -> bool) -> anyhow::Result<String> {
        let mut classes = Vec::new();
        for jar in jars {
            let list = output(Command::new("jar").arg("tf").arg(jar))?;
            classes.extend(list.lines().filter_map(|line| Some(line.strip_suffix(".class")?.replace('/', "."))));
        }
        classes.retain(|class| {
            let (package, name) = class.rsplit_once('.').unwrap_or(("", class));
            // What begins with a digit has no name in Kotlin.
            is_shown(package, name)
                && !is_machinery(name)
                && name.split('$').all(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
        });
        classes.sort();
        let text = output(Command::new("javap").args(["-public", "-cp"]).arg(self.class_path(jars)?).args(&classes))?;
        // An interface that the library hands on to itself is no function of an app.
        let lines = text.lines().filter(|line| !line.starts_with("Compiled from") && !is_machinery(line));
        Ok(lines.flat_map(|line| [line, "\n"]).collect())
    }

    /// What generated code needs beside Kotlin itself.
    fn libraries(&self) -> Vec<PathBuf> {
        vec![self.package.join("lib/kotlinx-coroutines-core-jvm.jar"), PathBuf::from(JNA)]
    }

    fn class_path(&self, jars: &[PathBuf]) -> anyhow::Result<OsString> {
        let standard = self.package.join("lib/kotlin-stdlib.jar");
        Ok(std::env::join_paths(jars.iter().chain([&standard]))?)
    }

    fn compile_with(&self, options: &[&str], sources: &[PathBuf], classpath: &[PathBuf], jar: &Path) -> anyhow::Result<()> {
        let folder = jar.parent().context("a jar lies in a folder")?;
        let _lock = lock(folder)?;
        let hash = hash(options, sources, classpath)?;
        let kept = jar.with_extension("sum");
        if jar.exists() && fs::read_to_string(&kept).is_ok_and(|kept| kept == hash) {
            return Ok(());
        }
        output(
            Command::new("bash")
                .arg(self.package.join("bin/kotlinc"))
                .args(options)
                .args(["-jvm-target", "17", "-cp"])
                .arg(self.class_path(classpath)?)
                .args(sources)
                .arg("-d")
                .arg(jar),
        )
        .with_context(|| format!("kotlinc for {}", jar.display()))?;
        fs::write(kept, hash)?;
        Ok(())
    }
}

/// Whether a name, or a line that shows a member, is of what uniffi keeps for itself.
fn is_machinery(shown: &str) -> bool {
    let words = [
        "uniffi",
        "Uniffi",
        "UniFFI",
        "FfiConverter",
        "RustBuffer",
        "ForeignBytes",
        "NoHandle",
        "DefaultImpls",
        "access$",
        "callWithHandle",
    ];
    words.iter().any(|word| shown.contains(word))
}

/// Fetches the compiler with npm, and unpacks it.
fn fetch(folder: &Path) -> anyhow::Result<()> {
    let archive = folder.join(format!("kotlin-compiler-{VERSION}.tgz"));
    output(Command::new("npm").args(["pack", "--silent", &format!("kotlin-compiler@{VERSION}")]).current_dir(folder))?;
    let sum = hex::encode(Sha256::digest(fs::read(&archive)?));
    ensure!(sum == ARCHIVE, "{} is another one than this repository was tested with: {sum}", archive.display());
    output(Command::new("tar").arg("xzf").arg(&archive).current_dir(folder))?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// One process at a time fetches or compiles into a folder; until the file is dropped.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(folder)?;
    let file = File::create(folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Stands for all that the compiler reads.
pub(crate) fn hash(options: &[&str], sources: &[PathBuf], classpath: &[PathBuf]) -> anyhow::Result<String> {
    let mut hash = Sha256::new_with_prefix(format!("{VERSION} {options:?}"));
    for path in sources.iter().chain(classpath) {
        let all = if path.is_dir() { all_files(path)? } else { vec![path.clone()] };
        for file in all {
            hash.update(file.as_os_str().as_encoded_bytes());
            hash.update(Sha256::digest(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?));
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// The Kotlin files of a folder, not of those in it.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "kt"));
    files.sort();
    Ok(files)
}

/// The Kotlin files of a folder and of those in it.
fn all_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = files(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(all_files(&path)?);
        }
    }
    all.sort();
    Ok(all)
}
