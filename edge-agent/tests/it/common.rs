//! What the agent's process tests share.

use std::path::Path;
use std::process::{Command, Stdio};

use edge_agent::init::{NewData, NewHome, init};
use fl_model::{DeviceId, RegionId};
use fl_runtime::broker::BrokerSettings;
use fl_runtime::keys::public_hex;
use fl_runtime::testing::Process;
use fl_wire::SigningKey;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-agent");

pub(crate) fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) fn device() -> DeviceId {
    DeviceId::new("edge-01").unwrap()
}

pub(crate) fn region() -> RegionId {
    RegionId::new("north").unwrap()
}

pub(crate) fn home(broker: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let new = NewHome {
        folder: folder.path().join("edge home"),
        device: device(),
        region: region(),
        root_key: public_hex(&root().verifying_key()),
        broker: broker.to_owned(),
        data: NewData::File("data.csv".into()),
        train_rows: None,
        test_rows: None,
    };
    init(&new).unwrap();
    folder
}

pub(crate) fn command(verb: &str, home: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg(verb)
        .arg("--home")
        .arg(home)
        .stdin(Stdio::piped());
    command
}

/// Starts the agent of a home; its log lies beside the home.
pub(crate) fn start(home: &Path) -> Process {
    let mut agent = Process::new(&home.with_file_name("log"));
    agent.start(command("run", home));
    agent
}

pub(crate) fn broker_settings(port: u16) -> BrokerSettings {
    BrokerSettings {
        listen: format!("127.0.0.1:{port}"),
        ..BrokerSettings::default()
    }
}
