//! What `status` shows.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The gateway at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name in the roster.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Version of the program.
    pub version: String,
    /// Since its start [ms].
    pub uptime_ms: u64,
    /// Whether the root's roster names it.
    pub enrolled: bool,
    /// Number of the roster that it follows.
    pub roster: u64,
    /// The highest epoch that it has seen.
    pub epoch: u64,
    /// Its way to the root.
    pub nats: BusStatus,
    /// Its way to the devices.
    pub broker: BusStatus,
    /// The phase in progress.
    pub round: Option<RoundStatus>,
    /// The region's devices.
    pub devices: Vec<DeviceStatus>,
    /// Messages that wait to go down to devices.
    pub queue: usize,
    /// Partial sums that are not settled.
    pub outbox: OutboxStatus,
    /// The disk under its home.
    pub disk: DiskStatus,
}

/// A bus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStatus {
    /// Where.
    pub address: String,
    /// Whether there is a connection.
    pub connected: bool,
}

/// A phase in progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// The job.
    pub job: String,
    /// Its round.
    pub round: u32,
    /// What the round asks for.
    pub phase: String,
    /// Devices in the sum.
    pub admitted: usize,
    /// Devices that are out.
    pub out: usize,
}

/// A device of the region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is connected.
    pub online: bool,
    /// Since it was heard last [ms]; none where it was not since the start.
    pub last_seen_ms: Option<u64>,
    /// Version of its agent; empty where it has not said hello.
    pub agent: String,
}

/// Partial sums that are not settled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// How many.
    pub partials: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The disk under a home.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes of models and parameters in the cache.
    pub objects_bytes: u64,
}

impl Status {
    /// The same for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        let state = |bus: &BusStatus| if bus.connected { "connected" } else { "away" };
        let online = self.devices.iter().filter(|device| device.online).count();
        let enrolled = if self.enrolled {
            "enrolled"
        } else {
            "not in the roster"
        };
        writeln!(
            text,
            "fog      {} of region {}, {enrolled}, version {}",
            self.name, self.region, self.version
        )?;
        writeln!(text, "up       {}", duration(self.uptime_ms))?;
        writeln!(text, "nats     {} {}", self.nats.address, state(&self.nats))?;
        writeln!(
            text,
            "broker   {} {}",
            self.broker.address,
            state(&self.broker)
        )?;
        match &self.round {
            Some(round) => writeln!(
                text,
                "round    {} {} of job {}: {} in, {} out of {} devices",
                round.phase,
                round.round,
                round.job,
                round.admitted,
                round.out,
                self.devices.len()
            )?,
            None => writeln!(text, "round    none")?,
        }
        writeln!(text, "queue    {} messages to devices", self.queue)?;
        writeln!(
            text,
            "outbox   {} partial sums, {}",
            self.outbox.partials,
            bytes(self.outbox.bytes)
        )?;
        let (free, objects) = (bytes(self.disk.free_bytes), bytes(self.disk.objects_bytes));
        writeln!(text, "disk     {free} free, {objects} of models")?;
        writeln!(text, "devices  {online} of {} online", self.devices.len())?;
        for device in &self.devices {
            let seen = match device.last_seen_ms {
                Some(ms) => format!("{} ago", duration(ms)),
                None => "never".to_owned(),
            };
            let online = if device.online { "online" } else { "away" };
            writeln!(
                text,
                "  {:<24} {online:<7} last seen {seen:<12} {}",
                device.name, device.agent
            )?;
        }
        Ok(())
    }
}

fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{}.{} s", s, ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// Bytes in the unit that suits them.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_every_device() {
        let status = Status {
            name: "fog-north".into(),
            devices: vec![
                DeviceStatus {
                    name: "edge-01".into(),
                    online: true,
                    last_seen_ms: Some(1_250),
                    agent: "0.1.0".into(),
                },
                DeviceStatus {
                    name: "edge-02".into(),
                    ..DeviceStatus::default()
                },
            ],
            ..Status::default()
        };
        let table = status.table();
        for part in [
            "fog-north",
            "1 of 2 online",
            "edge-01",
            "1.2 s ago",
            "edge-02",
            "never",
        ] {
            assert!(table.contains(part), "{part:?} in\n{table}");
        }
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(7), "7 B");
    }
}
