//! The processes of a federation: their homes, their enrolment, their start, all by the commands
//! that a user gives.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use toml_edit::Value;

use super::places::{Region, devices_of};
use super::programs::{Programs, command_line, set_in_file};
use super::results::Results;
use crate::processes::{Fleet, Interrupt, Spec, free_port};

/// The name of the bus's process.
pub const NATS_SERVER: &str = "nats-server";
/// The name of the root's process, and of its program.
pub const CLOUD_ROOT: &str = "cloud-root";
const FOG_AGGREGATOR: &str = "fog-aggregator";
/// The name of the agents' program.
pub const EDGE_AGENT: &str = "edge-agent";

/// How long a process may take until it serves.
const START_BOUND: Duration = Duration::from_secs(60);

/// What is handed to the root's `init`, in the form that a user would read off its output.
const ROOT_KEY_LABEL: &str = "root public key: ";
const KEY_LABEL: &str = "public key: ";

/// A federation on this machine: one root, a fog per region, an agent per device.
#[derive(Debug)]
pub struct Federation {
    programs: Programs,
    results: Results,
    regions: Vec<Region>,
    nats_port: u16,
    /// Lines of the bus's settings besides its address and its store.
    nats_settings: String,
    /// Its processes.
    pub fleet: Fleet,
}

/// The name of the process, and of the roster's member, that is a region's fog.
pub fn fog_name(region: &Region) -> String {
    format!("fog-{}", region.id)
}

/// The name of a device's process.
pub fn agent_name(device: &str) -> String {
    format!("agent-{device}")
}

impl Federation {
    /// Makes every home and enrols everybody; nothing runs yet. Spans also go to the OTLP collector
    /// `otlp`, where one is given.
    pub fn prepare(
        programs: Programs,
        results: Results,
        regions: Vec<Region>,
        otlp: Option<&str>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let federation = Self {
            fleet: Fleet::new(results.logs())?.interrupted_by(interrupt),
            nats_port: free_port()?,
            nats_settings: String::new(),
            programs,
            results,
            regions,
        };
        fs::create_dir_all(federation.results.homes())
            .with_context(|| format!("cannot create {}", federation.results.homes().display()))?;
        let root_key = federation.make_root(otlp)?;
        for region in &federation.regions {
            federation.make_region(region, &root_key, otlp)?;
        }
        Ok(federation)
    }

    /// The programs it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Its regions and devices.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// How many devices it has.
    pub fn devices(&self) -> u32 {
        devices_of(&self.regions)
    }

    /// The home of the process `name`.
    pub fn home(&self, name: &str) -> PathBuf {
        self.results.home(name)
    }

    fn make_root(&self, otlp: Option<&str>) -> Result<String> {
        let home = self.home(CLOUD_ROOT);
        let nats = self.nats_url();
        let printed = self.run(CLOUD_ROOT, [&"init", &"--home", &home, &"--nats", &nats])?;
        set_in_file(&home.join("cloud-root.toml"), telemetry(otlp))?;
        labelled(&printed, ROOT_KEY_LABEL)
    }

    /// Makes the homes of a region's fog and devices, and adds them to the roster.
    fn make_region(&self, region: &Region, root_key: &str, otlp: Option<&str>) -> Result<()> {
        let fog = fog_name(region);
        if region
            .devices
            .iter()
            .any(|device| device.id.as_str() == fog)
        {
            bail!("a device is called {fog}, which is its region's fog: rename its file");
        }
        let home = self.home(&fog);
        let address = format!("127.0.0.1:{}", free_port()?);
        let id = region.id.as_str();
        let printed = self.run(
            FOG_AGGREGATOR,
            [
                &"init",
                &"--home",
                &home,
                &"--name",
                &fog,
                &"--region",
                &id,
                &"--root-key",
                &root_key,
                &"--nats",
                &self.nats_url(),
                &"--listen",
                &address,
            ],
        )?;
        set_in_file(&home.join("fog-aggregator.toml"), telemetry(otlp))?;
        self.enrol(&fog, &labelled(&printed, KEY_LABEL)?, "fog", id)?;
        let broker = format!("mqtt://{address}");
        for device in &region.devices {
            let name = device.id.as_str();
            let home = self.home(&agent_name(name));
            let printed = self.run(
                EDGE_AGENT,
                [
                    &"init",
                    &"--home",
                    &home,
                    &"--name",
                    &name,
                    &"--region",
                    &id,
                    &"--root-key",
                    &root_key,
                    &"--broker",
                    &broker,
                    &"--data",
                    &device.data,
                ],
            )?;
            if let Some(library) = self.programs.onnxruntime() {
                let library = Value::from(library.to_string_lossy().into_owned());
                set_in_file(
                    &home.join("edge-agent.toml"),
                    [("runtime.onnxruntime", library)],
                )?;
            }
            self.enrol(name, &labelled(&printed, KEY_LABEL)?, "device", id)?;
        }
        Ok(())
    }

    fn enrol(&self, name: &str, key: &str, role: &str, region: &str) -> Result<()> {
        let home = self.home(CLOUD_ROOT);
        self.run(
            CLOUD_ROOT,
            [
                &"roster",
                &"add",
                &name,
                &key,
                &"--role",
                &role,
                &"--region",
                &region,
                &"--home",
                &home,
            ],
        )?;
        Ok(())
    }

    /// Starts nats-server, the root, the fogs and the agents, each as a process of its own, and waits
    /// until the bus and the root serve.
    pub fn start(&mut self) -> Result<()> {
        let spec = self.nats_spec()?;
        self.fleet.spawn(spec)?;
        let is_up = |line: &str| line.contains("Server is ready").then_some(());
        self.fleet.wait_for_line(NATS_SERVER, START_BOUND, is_up)?;
        self.spawn(CLOUD_ROOT, CLOUD_ROOT, "serve")?;
        for region in self.regions.clone() {
            self.spawn(&fog_name(&region), FOG_AGGREGATOR, "run")?;
            for device in &region.devices {
                self.spawn(&agent_name(device.id.as_str()), EDGE_AGENT, "run")?;
            }
        }
        self.wait_for_root()
    }

    /// Waits until the root takes operators' commands.
    pub fn wait_for_root(&mut self) -> Result<()> {
        let endpoint = self.home(CLOUD_ROOT).join("control.json");
        self.fleet
            .wait_until("the root's endpoint", START_BOUND, |_| {
                Ok(endpoint.is_file().then_some(()))
            })
    }

    fn spawn(&mut self, name: &str, program: &str, verb: &str) -> Result<()> {
        let home = self.home(name);
        let arguments = [OsStr::new(verb), OsStr::new("--home"), home.as_os_str()];
        // Far from any data: who needs a file must have been given its place.
        let spec = self.programs.spec(name, program, &arguments).folder(&home);
        self.fleet.spawn(spec)
    }

    fn nats_spec(&self) -> Result<Spec> {
        let config = self.nats_config();
        let store = self.home(NATS_SERVER);
        let text = format!(
            "# JetStream acknowledges a message only when it is on disk.\n\
             listen: \"127.0.0.1:{}\"\nserver_name: demo\n\
             jetstream {{\n  store_dir: {:?}\n  sync_interval: always\n}}\n{}",
            self.nats_port,
            store.display().to_string(),
            self.nats_settings,
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let server = self.programs.nats_server();
        self.programs.note(&command_line(
            server,
            &[OsStr::new("--config"), config.as_os_str()],
        ));
        Ok(Spec::new(NATS_SERVER, server)
            .argument("--config")
            .argument(config)
            .guarded(self.programs.path("xtask")))
    }

    fn nats_config(&self) -> PathBuf {
        self.results.folder().join("nats-server.conf")
    }

    /// Adds lines to the bus's settings, such as its certificate and its users; before the start.
    pub fn add_nats_settings(&mut self, lines: &str) {
        self.nats_settings.push_str(lines);
    }

    /// The bus's address.
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    /// What a user types to start the process `name` again.
    pub fn start_command(&self, name: &str) -> String {
        if name == NATS_SERVER {
            let config = self.nats_config();
            let arguments = [OsStr::new("--config"), config.as_os_str()];
            return command_line(self.programs.nats_server(), &arguments);
        }
        let home = self.home(name);
        let (program, verb) = match name {
            CLOUD_ROOT => (CLOUD_ROOT, "serve"),
            name if self.regions.iter().any(|region| fog_name(region) == name) => {
                (FOG_AGGREGATOR, "run")
            }
            _ => (EDGE_AGENT, "run"),
        };
        let arguments = [OsStr::new(verb), OsStr::new("--home"), home.as_os_str()];
        command_line(&self.programs.path(program), &arguments)
    }

    /// Runs one of our programs to its end.
    pub fn run<const N: usize>(
        &self,
        program: &str,
        arguments: [&dyn AsRef<OsStr>; N],
    ) -> Result<String> {
        self.programs
            .run(program, &arguments.map(|word| word.as_ref()))
    }
}

/// Every process that may tell spans keeps them in its home; the demo makes one file of them.
fn telemetry(otlp: Option<&str>) -> Vec<(&'static str, Value)> {
    let mut changes = vec![("telemetry.file", Value::from(true))];
    changes.extend(otlp.map(|url| ("telemetry.otlp.endpoint", Value::from(url))));
    changes
}

/// What stands behind a label in a command's output.
fn labelled(printed: &str, label: &str) -> Result<String> {
    let found = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix(label));
    found
        .map(|rest| rest.trim().to_owned())
        .with_context(|| format!("no {label:?} in: {printed}"))
}
