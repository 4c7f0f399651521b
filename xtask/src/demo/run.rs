//! `xtask demo`: the whole story, from an empty folder to the closing table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fl_view::JobEvent;

use super::arguments::{DemoArguments, default_data, default_job};
use super::baselines::Baselines;
use super::collector::Collector;
use super::course::Course;
use super::display::{Progress, print_closing};
use super::federation::{CLOUD_ROOT, Federation, agent_name, fog_name};
use super::job::Job;
use super::places::{Region, devices_of, discover};
use super::programs::Programs;
use super::results::Results;
use super::summary::{Alone, Federated, Pooled, Score, Summary};
use super::traces::merge_traces;
use super::watch::{News, Watch};
use crate::digest::sha256_of_file;
use crate::processes::{Failure, Interrupt};
use crate::{fetch, workspace};

/// How often children and signals are looked at while nothing happens.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs the demo to its end.
pub fn run(root: &Path, arguments: &DemoArguments) -> Result<()> {
    let (job, model, regions) = asked(root, arguments)?;
    let interrupt = Interrupt::install().context("cannot listen for signals")?;
    let tools = fetch::tools(root)?;
    let folder = match &arguments.binaries {
        Some(built) => std::path::absolute(built)
            .with_context(|| format!("{} is not a path", built.display()))?,
        None => {
            println!("building the programs (cargo build --workspace --bins)");
            workspace::build_binaries(root)?
        }
    };

    let results = Results::create(root)?;
    println!("results: {}", results.folder().display());
    job.write(&results.job(&job.name))?;
    let programs = Programs::new(&folder, &tools, &results.commands())?;
    let collector = Collector::find(arguments.otlp.as_deref());
    let demo = Demo {
        progress: Progress::start(job.rounds, collector.clone()),
        federation: Federation::prepare(
            programs,
            results.clone(),
            regions,
            collector.otlp.as_deref(),
            interrupt.clone(),
        )?,
        arguments,
        results,
        interrupt,
        job,
    };
    demo.run(&model)
}

/// The job with what was asked to be changed, its model's file, and the devices.
fn asked(root: &Path, arguments: &DemoArguments) -> Result<(Job, PathBuf, Vec<Region>)> {
    let file = arguments.job.clone().unwrap_or_else(|| default_job(root));
    let mut job = Job::load(&file)?;
    if let Some(rounds) = arguments.rounds {
        job.set_rounds(rounds);
    }
    if let Some(seed) = arguments.seed {
        job.set_seed(seed);
    }
    let model = job.find_model(root, arguments.model.as_deref())?;
    let data = arguments.data.clone().unwrap_or_else(|| default_data(root));
    let regions = discover(&data)?;
    job.check_devices(devices_of(&regions))?;
    Ok((job, model, regions))
}

struct Demo<'a> {
    arguments: &'a DemoArguments,
    job: Job,
    results: Results,
    federation: Federation,
    progress: Progress,
    interrupt: Interrupt,
}

impl Demo<'_> {
    fn run(mut self, model: &Path) -> Result<()> {
        let home = self.federation.home(CLOUD_ROOT);
        let name = self.job.model.clone();
        self.federation.run(
            CLOUD_ROOT,
            [
                &"model", &"import", &model, &"--name", &name, &"--home", &home,
            ],
        )?;
        let mut baselines = Baselines::new(
            &self.federation,
            &self.results,
            &self.results.job(&self.job.name),
            model,
            self.interrupt.clone(),
        )?;
        let alone = self.train_alone(&mut baselines)?;

        let started = Instant::now();
        self.progress.doing("starting the processes");
        self.federation.start()?;
        let course = self.follow_job()?;
        let wall_s = started.elapsed().as_secs_f64();

        let exported = self.results.model(&self.job.name);
        self.federation.run(
            CLOUD_ROOT,
            [
                &"model",
                &"export",
                &"--job",
                &self.job.name,
                &"-o",
                &exported,
                &"--home",
                &home,
            ],
        )?;
        if !self.arguments.keep {
            self.end_processes();
        }
        self.progress
            .doing("the federation's model on every device's test rows");
        let federated = baselines.evaluate(&exported)?;
        self.progress.doing("all rows in one place");
        let pooled = baselines.pooled()?;
        let summary = Summary {
            job: self.job.name.clone(),
            seed: self.job.seed,
            rounds: course.trained(),
            wall_s,
            federated: Federated::of(&federated, |device| self.region_of(device))
                .context("no device has test rows")?,
            alone: Alone::best_of(&alone),
            pooled: Pooled::best_of(&pooled),
            bytes: course.bytes(),
            model_sha256: sha256_of_file(&exported)?,
            model: exported,
            trace_ids: course.trace_ids(),
            missing: course.missing(),
        };
        self.progress.finish();
        self.leave(&summary)?;
        if self.arguments.keep {
            self.keep()?;
        }
        Ok(())
    }

    /// First of all, for it shows within seconds whether data, model and job go together.
    fn train_alone(
        &self,
        baselines: &mut Baselines,
    ) -> Result<BTreeMap<String, BTreeMap<u32, Score>>> {
        let mut unable = Vec::new();
        let progress = |done: usize, of: usize| {
            let what = format!("every device by itself, federation off: {done} of {of}");
            self.progress.doing(&what);
        };
        let alone = baselines.alone(progress, &mut unable)?;
        for (device, why) in &unable {
            self.progress.say(&format!("{device} cannot train: {why}"));
        }
        if alone.len() < self.job.quorum as usize {
            bail!(
                "{} of {} devices can train and the job's quorum is {}: see above what keeps the others",
                alone.len(),
                self.federation.devices(),
                self.job.quorum
            );
        }
        Ok(alone)
    }

    /// Hands the job in and shows its rounds until it is over.
    fn follow_job(&mut self) -> Result<Course> {
        let home = self.federation.home(CLOUD_ROOT);
        let file = self.results.job(&self.job.name);
        self.federation
            .run(CLOUD_ROOT, [&"job", &"submit", &file, &"--home", &home])?;
        let programs = self.federation.programs();
        let watch = Watch::start(
            programs.path("xtask"),
            programs.path(CLOUD_ROOT),
            home,
            &self.job.name,
        );
        let quality = if self.job.tells_classes() {
            "accuracy"
        } else {
            "error"
        };
        self.progress.head(quality);
        let mut course = Course::default();
        loop {
            self.look_after_processes()?;
            match watch.next(LOOK_AGAIN)? {
                Some(News::Told(JobEvent::Done(round))) => {
                    let line = course.add(*round, self.federation.devices());
                    self.progress.round(&line, course.trained());
                }
                Some(News::Told(JobEvent::Ended { how })) => {
                    if course.trained() == 0 {
                        bail!("the job was {how} before its first round was merged");
                    }
                    return Ok(course);
                }
                Some(news) => {
                    if let Some(what) = doing(&news) {
                        self.progress.doing(&what);
                    }
                }
                None => {}
            }
        }
    }

    /// A child that fails by itself ends the demo; one that somebody killed is told, and the
    /// federation goes on without it.
    fn look_after_processes(&mut self) -> Result<()> {
        if self.interrupt.requested() {
            bail!("interrupted");
        }
        for failure in self.federation.fleet.take_failures() {
            let Some(how) = ended_from_outside(&failure) else {
                bail!("{failure}");
            };
            self.progress.say(&format!(
                "       {} {how}; to start it again: {}",
                failure.name,
                self.federation.start_command(&failure.name)
            ));
        }
        Ok(())
    }

    fn end_processes(&mut self) {
        self.progress.doing("ending the processes");
        for name in self.federation.fleet.end_all() {
            self.progress
                .say(&format!("{name} did not end by itself and was killed"));
        }
    }

    /// Writes what is left behind, and shows it.
    fn leave(&self, summary: &Summary) -> Result<()> {
        let traces = merge_traces(&self.results.homes(), &self.results.traces())?;
        summary.write(&self.results.summary())?;
        if let Some(path) = &self.arguments.summary {
            summary.write(path)?;
        }
        print_closing(summary);
        println!(
            "traces: {} ({} spans; Jaeger's page takes it under Upload)",
            self.results.traces().display(),
            traces.spans
        );
        println!("all results: {}", self.results.folder().display());
        Ok(())
    }

    /// Stays up until somebody asks for the end.
    fn keep(mut self) -> Result<()> {
        println!("\nthe federation stays up; Ctrl-C ends it. Meanwhile, in another terminal:");
        for line in self.advice() {
            println!("  {line}");
        }
        while !self.interrupt.requested() {
            self.look_after_processes()?;
            std::thread::sleep(LOOK_AGAIN);
        }
        self.end_processes();
        self.progress.finish();
        merge_traces(&self.results.homes(), &self.results.traces())?;
        Ok(())
    }

    fn advice(&mut self) -> Vec<String> {
        let programs = self.federation.programs();
        let shown = |program: &str, arguments: &[&str], home: &Path| {
            let mut words: Vec<&std::ffi::OsStr> =
                arguments.iter().map(std::ffi::OsStr::new).collect();
            words.extend([std::ffi::OsStr::new("--home"), home.as_os_str()]);
            super::programs::command_line(&programs.path(program), &words)
        };
        let root = self.federation.home(CLOUD_ROOT);
        let mut lines = vec![
            shown(CLOUD_ROOT, &["job", "list"], &root),
            shown(CLOUD_ROOT, &["job", "show", &self.job.name], &root),
            shown(CLOUD_ROOT, &["job", "submit", "MY.toml"], &root),
        ];
        let Some(region) = self.federation.regions().first().cloned() else {
            return lines;
        };
        let fog = self.federation.home(&fog_name(&region));
        lines.push(shown("fog-aggregator", &["status"], &fog));
        if let Some(device) = region.devices.first() {
            let agent = agent_name(device.id.as_str());
            let start = self.federation.start_command(&agent);
            if let Some(pid) = self.federation.fleet.pid(&agent) {
                lines.push(format!("kill -9 {pid}   # {agent}; to start it again:"));
                lines.push(start);
            }
        }
        lines
    }

    fn region_of(&self, device: &str) -> String {
        let holds = |region: &&Region| {
            region
                .devices
                .iter()
                .any(|other| other.id.as_str() == device)
        };
        let found = self.federation.regions().iter().find(holds);
        found.map_or_else(String::new, |region| region.id.to_string())
    }
}

/// How somebody ended the child, when it was not its own fault.
fn ended_from_outside(failure: &Failure) -> Option<String> {
    match failure.killed_by {
        Some(signal) => Some(format!("was killed by signal {signal}")),
        None if failure.status.success() => Some("was asked to end".to_owned()),
        None => None,
    }
}

/// What stands behind the bar after such news.
fn doing(news: &News) -> Option<String> {
    let event = match news {
        News::Told(event) => event,
        News::Away { why } => return Some(format!("the root is away: {why}")),
    };
    match event {
        JobEvent::Opened { round, phase } => Some(format!("round {round}: {phase}")),
        JobEvent::Accepted {
            round,
            phase,
            region,
            devices,
        } => Some(format!(
            "round {round}: {phase}, {devices} devices of {region} are in"
        )),
        JobEvent::Waiting { online, quorum } => Some(format!(
            "waiting for devices: {online} of the {quorum} that a round needs"
        )),
        JobEvent::Done(_) | JobEvent::Ended { .. } => None,
    }
}
