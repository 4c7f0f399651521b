//! `xtask test`: every test with everything it needs, a check that the fuzz targets compile, and a plain
//! word about what did not run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::fetch::{self, JAEGER_VARIABLE, MOSQUITTO_VARIABLE, Tools};
use crate::{guard, workspace};

/// What to test.
#[derive(Debug, Clone, Args)]
pub struct TestArguments {
    /// Unit tests only, no processes.
    #[arg(long)]
    pub quick: bool,
    /// Only tests whose name contains this.
    pub filter: Option<String>,
}

/// Outside programs that tests use where they exist.
struct Guests {
    jaeger: Option<PathBuf>,
    mosquitto: Option<PathBuf>,
}

/// Runs the tests; `false` when one failed.
pub fn run(root: &Path, arguments: &TestArguments) -> Result<bool> {
    let guests = Guests::find()?;
    let tools = fetch::tools(root)?;
    let mut command = workspace::guarded_cargo(root);
    set_surroundings(&mut command, &tools, &guests);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if arguments.quick {
        command.args(["--lib", "--bins"]);
    } else {
        prepare(root)?;
        check_fuzz_targets(root)?;
    }
    command.args(&arguments.filter);
    let passed = guard::status(&mut command)
        .context("cannot run cargo test")?
        .success();
    report(arguments, &guests);
    Ok(passed)
}

/// `cargo test` builds no binaries for other packages' tests. Tests are built in the same call,
/// or dependencies would be compiled once with and once without the tests' features.
fn prepare(root: &Path) -> Result<()> {
    let mut command = workspace::guarded_cargo(root);
    command.args(["build", "--workspace", "--bins", "--tests"]);
    let built = guard::status(&mut command)
        .context("cannot run cargo build")?
        .success();
    anyhow::ensure!(
        built,
        "the workspace does not build: see the messages above"
    );
    Ok(())
}

/// The fuzz targets are a workspace of their own, whose programs need an instrumented build. That
/// they still fit what they feed takes no more than a check.
fn check_fuzz_targets(root: &Path) -> Result<()> {
    let manifest = root.join("fuzz").join("Cargo.toml");
    let mut command = workspace::guarded_cargo(root);
    command
        .args(["check", "--locked", "--bins", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(workspace::target_dir(root)?)
        // A check links nothing: any file in libFuzzer's place saves compiling it, and a C++ compiler.
        .env("CUSTOM_LIBFUZZER_PATH", &manifest);
    let checked = guard::status(&mut command)
        .context("cannot run cargo check")?
        .success();
    anyhow::ensure!(
        checked,
        "the fuzz targets do not fit the workspace: see the messages above, and fuzz/README.md"
    );
    Ok(())
}

impl Guests {
    fn find() -> Result<Self> {
        Ok(Self {
            jaeger: fetch::jaeger()?,
            mosquitto: fetch::mosquitto()?,
        })
    }
}

/// Tests run in their package's folder, so every path is absolute.
fn set_surroundings(command: &mut Command, tools: &Tools, guests: &Guests) {
    tools.set_on(command);
    if let Some(jaeger) = &guests.jaeger {
        command.env(JAEGER_VARIABLE, jaeger);
    }
    if let Some(mosquitto) = &guests.mosquitto {
        command.env(MOSQUITTO_VARIABLE, mosquitto);
    }
}

fn report(arguments: &TestArguments, guests: &Guests) {
    println!();
    if arguments.quick {
        println!("not run (--quick): integration, end-to-end and documentation tests");
        return;
    }
    if let Some(filter) = &arguments.filter {
        println!("not run: tests whose name does not contain {filter:?}");
    }
    match &guests.jaeger {
        Some(jaeger) => println!("traces were also sent to {}", jaeger.display()),
        None => println!(
            "not run: traces in the real Jaeger ({JAEGER_VARIABLE} is not set and PATH has none); \
             they were checked by the built-in receiver only"
        ),
    }
    match &guests.mosquitto {
        Some(mosquitto) => println!("MQTT was also tested with {}", mosquitto.display()),
        None => println!(
            "not run: MQTT with Mosquitto ({MOSQUITTO_VARIABLE} is not set and PATH has none; \
             Debian, Ubuntu: sudo apt install mosquitto)"
        ),
    }
}
