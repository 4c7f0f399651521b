//! Who emits a span: the OpenTelemetry resource.

use crate::span::RoundSpan;

/// `service.namespace` of every process of a federation.
pub const NAMESPACE: &str = "tributary";

/// A tier; one service each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Plans and merges.
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

/// What a process knows about itself; [`Resource::new`] makes the resource from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its tier.
    pub service: Service,
    /// `service.instance.id`: its name in the roster. It survives restarts, so that a span sent twice is shown once.
    pub instance: String,
    /// `service.version`.
    pub version: String,
    /// `deployment.environment.name`, like `demo` or `production`; empty: left out.
    pub environment: String,
    /// `host.id`; empty: left out. A fog leaves it out for its devices.
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

/// Spans of one resource; what the exporter takes.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    /// Who emitted them.
    pub resource: Resource,
    /// The spans.
    pub spans: Vec<RoundSpan>,
}
