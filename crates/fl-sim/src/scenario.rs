//! What is simulated: who takes part, how the network behaves, and what goes wrong.

use std::collections::BTreeSet;

use fl_model::{
    DataSpec, DeviceId, Feature, FeatureSpec, GridWidth, JobId, JobSpec, Label, Loss, RegionId,
    Schedule, ServerOptimizer, Split, TrainingSpec, Weighting,
};
use fl_round::{FogLimits, Millis, RootLimits};

use crate::random::Random;

/// Coordinates per tensor of the simulated model.
pub const TENSORS: [usize; 2] = [3, 2];

/// Largest weight that the simulated job allows.
pub const WEIGHT_MAX: u64 = 100;

/// A process of the federation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessId {
    /// A device.
    Device(DeviceId),
    /// The fog of a region.
    Fog(RegionId),
    /// A root: 0 leads first, 1 is another that may be started beside it.
    Root(usize),
}

/// Where a region's MQTT broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// In the fog: it dies and starts with it.
    Embedded,
    /// Elsewhere: devices do not notice that their fog is gone.
    External,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed once it has carried out that many more effects.
    Kill {
        /// Which.
        process: ProcessId,
        /// 0 kills at once.
        after_effects: u64,
        /// Until it is started again; never where none.
        down_ms: Option<Millis>,
    },
    /// A process does nothing for a while, and then goes on where it was.
    Pause(ProcessId, Millis),
    /// A device loses its broker, a fog or a root loses NATS.
    Cut(ProcessId, Millis),
    /// A fog loses a broker that runs elsewhere.
    CutFromBroker(RegionId, Millis),
    /// A root is started, whether or not another one leads.
    StartRoot(usize),
    /// An operator stops the job.
    Stop,
}

/// How messages fare, in thousandths, until [`Scenario::healed_ms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// MQTT messages that are lost, and the session with them.
    pub loss_per_mille: u64,
    /// MQTT messages that come twice.
    pub duplicate_per_mille: u64,
}

/// How devices behave, in thousandths of their contributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// Local training fails.
    pub diverges_per_mille: u64,
    /// The weight is above the plan's maximum.
    pub overweight_per_mille: u64,
    /// The fog finds the bytes damaged.
    pub corrupt_per_mille: u64,
}

/// One simulated federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Orders everything that is left to chance.
    pub seed: u64,
    /// Regions, with one fog each.
    pub regions: u32,
    /// Devices of every region.
    pub devices: u32,
    /// Training rounds.
    pub rounds: u32,
    /// Contributions that a round needs.
    pub quorum: u32,
    /// Where MQTT brokers run.
    pub broker: Broker,
    /// The network.
    pub network: Network,
    /// The devices.
    pub behaviour: Behaviour,
    /// What goes wrong, and when.
    pub faults: Vec<(Millis, Fault)>,
    /// From then on nothing goes wrong, and everybody is started who is not gone for good.
    pub healed_ms: Millis,
}

impl Scenario {
    /// How long a fog waits for its devices.
    pub const DEADLINE_MS: u32 = 5_000;
    /// A device sends an unanswered contribution again after that long.
    pub const RESEND_MS: Millis = 700;
    /// Devices and fogs are heard that often.
    pub const BEAT_MS: Millis = 300;
    /// Fogs of the simulation.
    pub const FOG: FogLimits = FogLimits {
        silence_ms: 1_000,
        grace_ms: 1_500,
        settled_max: 1_000,
    };
    /// Roots of the simulation.
    pub const ROOT: RootLimits = RootLimits {
        fog_silence_ms: 1_000,
        grace_ms: 1_500,
        report_ms: 1_000,
        gather_ms: 500,
        retry_ms: 500,
        retry_max_ms: 4_000,
    };

    /// A federation in which nothing goes wrong.
    pub fn calm(seed: u64, regions: u32, devices: u32, rounds: u32) -> Self {
        Self {
            seed,
            regions,
            devices,
            rounds,
            quorum: (regions * devices).div_ceil(2),
            broker: Broker::Embedded,
            network: Network::default(),
            behaviour: Behaviour::default(),
            faults: Vec::new(),
            healed_ms: 0,
        }
    }

    /// A federation in which much goes wrong, as the seed has it.
    pub fn stormy(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let regions = random.within(1, 3) as u32;
        let devices = random.within(1, 4) as u32;
        let mut scenario = Self::calm(seed, regions, devices, random.within(1, 4) as u32);
        if random.chance(500) {
            scenario.broker = Broker::External;
        }
        scenario.network.loss_per_mille = random.within(0, 60);
        scenario.network.duplicate_per_mille = random.within(0, 200);
        if random.chance(400) {
            scenario.behaviour = Behaviour {
                diverges_per_mille: random.within(0, 100),
                overweight_per_mille: random.within(0, 100),
                corrupt_per_mille: random.within(0, 100),
            };
        }
        scenario.healed_ms = random.within(500, 30_000);
        let mut dying = regions * devices - scenario.quorum;
        let pause_max_ms = if random.chance(250) { 300 } else { 3_000 };
        let mut at = random.within(0, 1_500);
        while at < scenario.healed_ms {
            let fault = scenario.fault(&mut random, &mut dying);
            scenario.faults.push((at, fault));
            at += random.within(10, pause_max_ms);
        }
        scenario
    }

    fn fault(&self, random: &mut Random, dying: &mut u32) -> Fault {
        let process = self.any_process(random);
        let long_ms = random.within(10, 8_000);
        match random.within(0, 99) {
            0..=49 => {
                let dies = matches!(process, ProcessId::Device(_)) && *dying > 0;
                let forever = dies && random.chance(300);
                *dying -= u32::from(forever);
                Fault::Kill {
                    process,
                    after_effects: random.within(0, 6),
                    down_ms: (!forever).then(|| random.within(10, 6_000)),
                }
            }
            50..=64 => Fault::Pause(process, long_ms),
            65..=79 => Fault::Cut(process, long_ms),
            80..=86 => match process {
                ProcessId::Fog(region) => Fault::CutFromBroker(region, long_ms),
                other => Fault::Cut(other, long_ms),
            },
            87..=98 => Fault::StartRoot(random.within(0, 1) as usize),
            _ => Fault::Stop,
        }
    }

    fn any_process(&self, random: &mut Random) -> ProcessId {
        let region = random.within(0, u64::from(self.regions) - 1) as u32;
        match random.within(0, 2) {
            0 => ProcessId::Root(random.within(0, 1) as usize),
            1 => ProcessId::Fog(region_id(region)),
            _ => {
                let device = random.within(0, u64::from(self.devices) - 1) as u32;
                ProcessId::Device(device_id(region, device))
            }
        }
    }

    /// The regions.
    pub fn region_ids(&self) -> impl Iterator<Item = RegionId> {
        (0..self.regions).map(region_id)
    }

    /// The devices of a region, by its number.
    pub fn device_ids(&self, region: u32) -> BTreeSet<DeviceId> {
        (0..self.devices)
            .map(|device| device_id(region, device))
            .collect()
    }

    /// The job that everybody works on.
    pub fn spec(&self) -> JobSpec {
        let job = name("job", JobId::new);
        let training = TrainingSpec {
            batch_size: 1,
            ..TrainingSpec::plain(Loss::MeanSquaredError, 0.1)
        };
        let feature = Feature::Numeric { column: "x".into() };
        JobSpec {
            job,
            model: "model".into(),
            rounds: self.rounds,
            quorum: self.quorum,
            deadline_ms: Self::DEADLINE_MS,
            seed: self.seed,
            randomize: false,
            options: fl_model::ModelOptions::PLAIN,
            training,
            schedule: Schedule::default(),
            data: DataSpec {
                inputs: FeatureSpec {
                    features: vec![feature],
                    clip: 5.0,
                }
                .into(),
                label: Label::Value { column: "y".into() },
                split: Split::Tail { test_fraction: 0.5 },
            },
            grid: GridWidth::W16,
            clip_norm: 2.0,
            weighting: Weighting::Examples,
            weight_max: WEIGHT_MAX,
            contributions_max: self.regions * self.devices,
            server: ServerOptimizer::FedAvgM {
                learning_rate: 1.0,
                momentum: 0.5,
            },
        }
    }
}

/// The region with that number.
pub fn region_id(region: u32) -> RegionId {
    name(&format!("r{region}"), RegionId::new)
}

/// The device with that number in that region.
pub fn device_id(region: u32, device: u32) -> DeviceId {
    name(&format!("r{region}d{device}"), DeviceId::new)
}

fn name<T, E: std::fmt::Debug>(text: &str, of: impl Fn(&str) -> Result<T, E>) -> T {
    // The names of the simulation are a few letters and digits.
    #[expect(clippy::unwrap_used, reason = "such a name is always allowed")]
    of(text).unwrap()
}
