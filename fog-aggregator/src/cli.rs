//! The command line.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use fl_runtime::control::ControlClient;
use fl_runtime::logging;
use fl_runtime::terminal::{print, print_line};

use crate::endpoint::{HEALTH_PATH, STATUS_PATH};
use crate::init::{InitOptions, init};
use crate::settings::{FogSettings, require_home};
use crate::status::Status;
use crate::{check, run};

/// Most bytes of a password.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// The gateway of a region: admits its devices' contributions, sums them exactly, reports one sum.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a home: a key, and settings with comments.
    Init(InitOptions),
    /// Run the gateway of a home.
    Run(HomeOption),
    /// See whether the gateway could run: a verdict per line.
    Check(HomeOption),
    /// Show devices, round, queue and disk of a running gateway.
    Status {
        #[command(flatten)]
        home: HomeOption,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// See whether a running gateway speaks to its devices and to the root: fails where it does not.
    Health(HomeOption),
    /// Read a device's password from standard input and print its line for the password file.
    Password {
        /// The device.
        device: String,
    },
}

#[derive(Debug, Args)]
struct HomeOption {
    /// The gateway's home.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
}

/// Carries a command out.
///
/// # Errors
/// What went wrong, naming the thing and the remedy.
pub fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Init(options) => {
            print(init(&options)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(option) => {
            let home = require_home(&option.home)?;
            let settings = FogSettings::load(&home)?;
            logging::init(&settings.log)?;
            runtime()?.block_on(run::run(&home, settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(option) => {
            let home = require_home(&option.home)?;
            let verdicts = runtime()?.block_on(check::check(&home));
            print(check::table(&verdicts))?;
            let good = verdicts.iter().all(|verdict| verdict.result.is_ok());
            Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Status { home, json } => {
            let home = require_home(&home.home)?;
            let asked = async {
                let client = ControlClient::open(home.folder())?;
                client.get::<Status>(STATUS_PATH).await
            };
            let status = runtime()?.block_on(asked)?;
            if json {
                print_line(serde_json::to_string_pretty(&status)?)?;
            } else {
                print(status.table())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Health(option) => {
            let home = require_home(&option.home)?;
            let asked = async {
                let client = ControlClient::open(home.folder())?;
                client.get_bytes(HEALTH_PATH).await
            };
            let health = runtime()?.block_on(asked)?;
            print(String::from_utf8_lossy(&health))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Password { device } => {
            let device = fl_model::DeviceId::new(&device)?;
            let mut password = String::new();
            let stdin = std::io::stdin().take(PASSWORD_BYTES_MAX);
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdin), &mut password)
                .context("cannot read a password from standard input")?;
            let password = password.trim_end_matches(['\r', '\n']);
            anyhow::ensure!(!password.is_empty(), "no password came on standard input");
            let hash = fl_runtime::broker::hash_password(password).map_err(anyhow::Error::msg)?;
            print_line(format_args!("{device}:{hash}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("the system does not let us start threads")
}
