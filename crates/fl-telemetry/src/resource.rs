//! Who emits a span: the OpenTelemetry resource.

use sha2::{Digest, Sha256};

use crate::span::RoundSpan;

/// `service.namespace` of every process of a federation.
pub const NAMESPACE: &str = "tributary";

/// Where Linux keeps the machine id; the second place is older.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
const HOST_ID_BYTES: usize = 8;

/// A tier; one service each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Service {
    /// Plans and merges.
    #[default]
    CloudRoot,
    /// Admits and sums up.
    FogAggregator,
    /// Trains.
    EdgeAgent,
}

impl Service {
    /// `service.name`.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::CloudRoot => "cloud-root",
            Service::FogAggregator => "fog-aggregator",
            Service::EdgeAgent => "edge-agent",
        }
    }
}

/// What a process knows about itself; [`Resource::new`] makes the resource from it. The default is only for what is
/// left out: tier, instance and version are always set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its tier.
    pub service: Service,
    /// `service.instance.id`: its name in the roster. It survives restarts, so that a span sent twice is shown once.
    pub instance: String,
    /// `service.version`.
    pub version: String,
    /// `deployment.environment.name`, like `demo` or `production`; empty: left out.
    pub environment: String,
    /// `host.id`, as [`host_id`] finds it; empty: left out. A fog leaves it out for its devices.
    pub host: String,
    /// The region of a fog or a device.
    pub region: Option<String>,
}

/// A resource: ordered attributes, all text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    attributes: Vec<(&'static str, String)>,
}

impl Resource {
    /// The resource of a process, with `fl.region` and, for agents, `fl.device`.
    pub fn new(identity: &Identity) -> Self {
        let mut attributes = vec![
            ("service.name", identity.service.as_str().to_owned()),
            ("service.namespace", NAMESPACE.to_owned()),
            ("service.instance.id", identity.instance.clone()),
            ("service.version", identity.version.clone()),
        ];
        let mut optional = |key, value: &str| {
            if !value.is_empty() {
                attributes.push((key, value.to_owned()));
            }
        };
        optional("deployment.environment.name", &identity.environment);
        optional("host.id", &identity.host);
        optional("fl.region", identity.region.as_deref().unwrap_or_default());
        if identity.service == Service::EdgeAgent {
            optional("fl.device", &identity.instance);
        }
        for (_, value) in &mut attributes {
            crate::span::cut_text(value);
        }
        Self { attributes }
    }

    /// Names and values.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.attributes
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
    }
}

/// A name for this machine that stays and gives nothing away: a keyed hash of its machine id, as 16 hex digits. Empty
/// where the system has no such id, as in most containers.
pub fn host_id() -> String {
    let id = MACHINE_ID_FILES
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let id = id.trim();
    if id.is_empty() {
        return String::new();
    }
    let digest = Sha256::new()
        .chain_update(NAMESPACE)
        .chain_update(id)
        .finalize();
    digest
        .iter()
        .take(HOST_ID_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Spans of one resource; what the exporter takes.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    /// Who emitted them.
    pub resource: Resource,
    /// The spans.
    pub spans: Vec<RoundSpan>,
}
