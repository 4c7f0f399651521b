//! `cloud-root init`: a home with a key and settings.

use anyhow::{Context as _, ensure};
use fl_runtime::keys;
use fl_runtime::nats::NatsServer;
use fl_runtime::store::{Access, HomeLock, write_atomic};
use fl_runtime::terminal::path_word;

use crate::home::Home;
use crate::settings::{RootSettings, SAMPLE};

/// The address in the sample.
pub(crate) const SAMPLE_NATS_URL: &str = "nats://127.0.0.1:4222";

/// Makes a home; returns what to print. The settings come last: a home without them was left by a crash,
/// and its key is kept.
pub(crate) fn init(home: &Home, nats: &str) -> anyhow::Result<String> {
    let file = home.settings_file();
    let is_new = || {
        ensure!(
            !file.exists(),
            "{} is a root's home already: nothing was changed; take another --home",
            home.folder().display()
        );
        Ok(())
    };
    is_new()?;
    let text = SAMPLE.replace(SAMPLE_NATS_URL, nats);
    let settings: RootSettings = fl_runtime::settings::parse(&text, "the settings to be written")
        .context("--nats gives settings that cannot be read")?;
    ensure!(
        settings.nats.url == nats,
        "--nats {nats:?} cannot stand in a settings file: write it as nats://host:port"
    );
    NatsServer::new(&settings.nats, home.folder()).context("--nats")?;
    let _lock = HomeLock::acquire(home.folder())?;
    is_new()?;
    let key = keys::load_or_create(&home.key_file())?;
    write_atomic(&file, text.as_bytes(), Access::Owner)?;
    Ok(format!(
        "settings: {}\n\
         root public key: {}\n\
         Make fogs and devices with that key as --root-key. The cloud-root command that each of them prints\n\
         goes into a shell on this machine, after\n  \
         export CLOUD_ROOT_HOME={}\n\
         Then start the root:\n  \
         {}\n",
        file.display(),
        keys::public_hex(&key.verifying_key()),
        path_word(home.folder()),
        home.command("serve"),
    ))
}
