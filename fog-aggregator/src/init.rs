//! Makes a home.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use fl_model::{MemberId, RegionId};
use fl_runtime::keys;
use fl_runtime::store::{Access, write_atomic};

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
    let filled = settings::fill(
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
    std::fs::create_dir_all(home.folder())
        .with_context(|| format!("cannot create {}", home.folder().display()))?;
    let key = keys::load_or_create(&home.key())?;
    let public = keys::public_hex(&key.verifying_key());
    // The address may hold a password.
    write_atomic(&file, filled.as_bytes(), Access::Owner)?;
    Ok(format!(
        "public key: {public}\n\
         Enrol it at the root:\n  \
         cloud-root roster add {name} {public} --role fog --region {region} --home ROOT_HOME\n\
         Then start it:\n  \
         fog-aggregator run --home {}\n",
        home.folder().display()
    ))
}
