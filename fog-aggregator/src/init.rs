//! Makes a home.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use fl_model::{MemberId, RegionId, Role};
use fl_runtime::keys;
use fl_runtime::store::{Access, create_home, write_atomic};
use fl_runtime::terminal::home_command;

use crate::disk::Home;
use crate::settings::{self, SAMPLE};

/// What `init` is told.
#[derive(Debug, Clone, Args)]
pub struct InitOptions {
    /// The home to make.
    #[arg(long, value_name = "DIR")]
    pub home: PathBuf,
    /// Name of the gateway in the roster.
    #[arg(long)]
    pub name: String,
    /// The region that it serves.
    #[arg(long)]
    pub region: String,
    /// The root's public key, as `cloud-root init` printed it.
    #[arg(long, value_name = "HEX")]
    pub root_key: String,
    /// Where NATS is.
    #[arg(long, value_name = "URL")]
    pub nats: String,
    /// Where the embedded broker listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub listen: String,
}

/// Makes key and settings; returns what to print.
///
/// # Errors
/// A value is wrong, or the home has settings already.
pub fn init(options: &InitOptions) -> anyhow::Result<String> {
    let name = MemberId::new(&options.name).context("--name")?;
    let region = RegionId::new(&options.region).context("--region")?;
    keys::parse_public_hex(&options.root_key).context("--root-key")?;
    let home = Home::at(&options.home);
    let file = home.settings();
    ensure!(
        !file.exists(),
        "{} exists: edit it, or take another --home",
        file.display()
    );
    let filled = fl_runtime::settings::fill(
        SAMPLE,
        &[
            ("", "name", name.as_str()),
            ("", "region", region.as_str()),
            ("root", "public_key", &options.root_key),
            ("nats", "url", &options.nats),
            ("embedded_broker", "listen", &options.listen),
        ],
    );
    let filled = filled.context("the sample settings lack a line: please report it")?;
    settings::parse(&filled, "the given values")?;
    create_home(home.folder())?;
    let key = keys::load_or_create(&home.key())?;
    let public = key.verifying_key();
    // The address may hold a password.
    write_atomic(&file, filled.as_bytes(), Access::Owner)?;
    Ok(format!(
        "public key: {}\n\
         Enrol it where the root runs:\n  \
         {}\n\
         Then start it:\n  \
         {}\n",
        keys::public_hex(&public),
        keys::enrol_command(&name, &public, Role::Fog, &region),
        home_command("fog-aggregator", "run", home.folder())
    ))
}
