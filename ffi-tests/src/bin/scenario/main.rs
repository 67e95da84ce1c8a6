//! The scenario in Rust, through the same interface that the other languages have. `cargo test -p ffi-tests` runs it; README.md explains the steps.

mod clocks;
mod phone;
mod radio;
mod steps;
mod vault;

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use tokio::runtime::Runtime;

use steps::World;

fn main() -> anyhow::Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set; cargo test -p ffi-tests sets it"));
    let scenario = fs::read_to_string(variable("VIGIE_SCENARIO")?)?;
    let (control, folder) = (variable("VIGIE_CONTROL")?, PathBuf::from(variable("VIGIE_FOLDER")?));
    // A second one is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Runtime::new()?.block_on(async {
        let mut world = World::new(control, folder);
        for (number, line) in scenario.lines().enumerate() {
            let step = line.split('#').next().unwrap_or_default().trim();
            if !step.is_empty() {
                world.step(step).await.with_context(|| format!("line {}: {step}", number + 1))?;
            }
        }
        world.end_scene().await
    })
}
