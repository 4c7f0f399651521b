//! `xtask docker`: builds the images, brings the federation of `docker/compose.yaml` up, finishes a job
//! in it, tries whom the agents can reach, and takes everything down again.

mod images;
mod isolation;
mod leftovers;
mod project;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fl_view::{JobView, RoundView};

use self::project::{Engine, Project};
use crate::demo::{Job, default_job};
use crate::processes::Interrupt;

/// How long images may take to be built: a release build of everything on a slow machine.
const BUILD_BOUND: Duration = Duration::from_secs(2 * 60 * 60);
/// How long homes may take to be made and containers to be started.
const UP_BOUND: Duration = Duration::from_secs(5 * 60);
/// How long the root may take until it serves.
const SERVE_BOUND: Duration = Duration::from_secs(2 * 60);
/// How long the job may take, once it is submitted, besides [`ROUND_BOUND`] for each round.
const JOB_BOUND: Duration = Duration::from_secs(2 * 60);
/// How long a round may take: its phases' deadlines and what lies between them.
const ROUND_BOUND: Duration = Duration::from_secs(60);
/// Lines of each container's log that are shown when something failed.
const LOG_LINES: &str = "20";
/// Where the configuration folder is mounted in the root's container.
const CONFIG: &str = "/config";

/// A service of each image that is built; the others share these images.
const BUILT: [&str; 4] = ["enrol", "root", "fog-city-east", "dongsi"];

/// A region of `docker/compose.yaml`: its name is its network's, and its fog is called `fog-NAME`.
#[derive(Debug)]
struct Region {
    name: &'static str,
    devices: &'static [&'static str],
}

impl Region {
    fn fog(&self) -> String {
        format!("fog-{}", self.name)
    }
}

/// Who takes part.
const REGIONS: [Region; 2] = [
    Region {
        name: "city-east",
        devices: &["dongsi", "tiantan"],
    },
    Region {
        name: "north-suburbs",
        devices: &["changping", "huairou"],
    },
];

/// How to run the federation in containers.
#[derive(Debug, Clone, Args)]
pub struct DockerArguments {
    /// Training rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Stay up after the last round and say how to talk to the federation.
    #[arg(long)]
    keep: bool,
    /// The cargo profile of the images: dev builds fastest, dist makes the smallest programs.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Builds, runs, checks and takes down.
///
/// # Errors
/// There is no engine or no image to start from; or what failed in the federation, after it was taken
/// down.
pub fn run(root: &Path, arguments: &DockerArguments) -> Result<()> {
    let interrupt = Interrupt::install().context("cannot listen for signals")?;
    let engine = Engine::find(interrupt)?;
    let mut job = Job::load(&default_job(root))?;
    job.set_rounds(arguments.rounds);
    let devices: usize = REGIONS.iter().map(|region| region.devices.len()).sum();
    job.set_quorum(u32::try_from(devices).context("too many devices")?);

    images::ensure(&engine, &root.join("docker"))?;
    let project = Project::new(engine, root, &arguments.profile, arguments.keep)?;
    project.clear_abandoned()?;
    println!("building the images; the first time compiles everything");
    let build: Vec<&str> = ["build"].into_iter().chain(BUILT).collect();
    project.run(&build, BUILD_BOUND)?;

    println!("starting the federation as project {}", project.name());
    let finished = federation(&project, &job);
    if let Err(error) = &finished {
        project.explain(error, LOG_LINES);
    } else if arguments.keep {
        println!("{}", project.how_to_talk(&job.name));
        return Ok(());
    }
    println!("taking the federation down");
    let gone = project.take_down();
    finished.and(gone)
}

fn federation(project: &Project, job: &Job) -> Result<()> {
    project.run(&["up", "-d", "--no-build"], UP_BOUND)?;
    let root = project.container("root")?;
    project.wait_until("the root", SERVE_BOUND, || {
        project.exec(&root, &["cloud-root", "job", "list"]).is_ok()
    })?;
    let model = format!("{CONFIG}/models/{}.onnx", job.model);
    let import = [
        "cloud-root",
        "model",
        "import",
        &model,
        "--name",
        &job.model,
    ];
    print!("{}", project.exec(&root, &import)?);
    let file = tempfile::NamedTempFile::new().context("cannot make a file for the job")?;
    job.write(file.path())?;
    print!("{}", project.submit(&root, file.path())?);

    let bound = JOB_BOUND + ROUND_BOUND * job.rounds;
    project.run_in(&root, &["cloud-root", "job", "watch", &job.name], bound)?;
    let shown = project.exec(&root, &["cloud-root", "job", "show", &job.name, "--json"])?;
    check_job(&shown, job)?;
    isolation::check(project)?;
    println!("every device took part in {} rounds", job.rounds);
    Ok(())
}

/// Refuses a job that did not merge every round with every device in it.
fn check_job(shown: &str, job: &Job) -> Result<()> {
    let state: JobView = serde_json::from_str(shown)
        .with_context(|| format!("cloud-root job show printed something unexpected: {shown}"))?;
    ensure!(
        state.state == "finished" && state.rounds_done == job.rounds,
        "job {} is {} after {} of {} rounds: see the lines above",
        job.name,
        state.state,
        state.rounds_done,
        job.rounds
    );
    let trained: Vec<&RoundView> = state.history.iter().filter(|r| r.trained()).collect();
    ensure!(
        trained.len() == job.rounds as usize
            && trained.iter().all(|round| round.participants == job.quorum),
        "not every round had its {} devices: {shown}",
        job.quorum
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace;

    fn in_docker(name: &str) -> String {
        let path = workspace::root().unwrap().join("docker").join(name);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_image_is_built_from_the_same_stages() {
        let stages = |name: &str| {
            let text = in_docker(name);
            let from = text.find("\nFROM rust:").unwrap();
            let to = text.find("\nFROM debian:").unwrap();
            text[from..to].to_owned()
        };
        let expected = stages("cloud-root.Dockerfile");
        assert!(expected.contains("cargo build"));
        assert!(expected.contains("find . -path ./target -prune -o"));
        for name in ["fog-aggregator", "edge-agent", "enrol"] {
            assert_eq!(stages(&format!("{name}.Dockerfile")), expected, "{name}");
        }
    }

    #[test]
    fn nothing_needs_buildkit_and_nobody_is_root() {
        for name in ["cloud-root", "fog-aggregator", "edge-agent"] {
            let text = in_docker(&format!("{name}.Dockerfile"));
            for buildkit in [
                "RUN --",
                "<<EOF",
                "# syntax",
                "COPY --chmod",
                "COPY --parents",
            ] {
                assert!(!text.contains(buildkit), "{buildkit} in {name}");
            }
            let result = &text[text.find("\nFROM debian:").unwrap()..];
            for part in [
                "\nUSER 10001",
                "\nHEALTHCHECK ",
                "\nVOLUME ",
                "\nENTRYPOINT ",
            ] {
                assert!(result.contains(part), "{name} lacks {part:?}");
            }
            assert!(!result.contains("apt-get"), "{name} installs something");
        }
    }

    #[test]
    fn the_regions_are_those_that_are_enrolled() {
        let words: Vec<String> = REGIONS
            .iter()
            .map(|region| format!("\"{}:{}\"", region.name, region.devices.join(",")))
            .collect();
        let command = format!("command: [{}]", words.join(", "));
        let compose = in_docker("compose.yaml");
        assert!(compose.contains(&command), "no {command}");
        for region in REGIONS {
            assert!(compose.contains(&format!("\n  {}:\n    <<: *fog", region.fog())));
            for device in region.devices {
                assert!(compose.contains(&format!("\n  {device}:\n    <<: *agent")));
            }
        }
        for service in BUILT {
            assert!(compose.contains(&format!("\n  {service}:\n")), "{service}");
        }
    }

    #[test]
    fn a_job_that_did_not_finish_is_refused() {
        let mut job = Job::load(&default_job(&workspace::root().unwrap())).unwrap();
        job.set_rounds(1);
        job.set_quorum(4);
        let round = |participants: u32| {
            format!(
                r#"{{"round":1,"phase":"train","outcome":"merged","participants":{participants},
                "expected":4,"train_loss":0.4,"loss":0.3,"accuracy":0.8,"absolute_error":null,
                "edge_up_bytes":1,"fog_up_bytes":2,"down_bytes":3,"seconds":0.5,"trace_id":"ab",
                "missing":[],"failovers":0}}"#
            )
        };
        let check = |state: &str, done: u32, history: &str, expected: bool| {
            let shown = format!(
                r#"{{"job":"x","model":"m","state":"{state}","rounds_done":{done},"rounds":1,"quorum":4,
                "parameters":"ab","history":[{history}]}}"#
            );
            assert_eq!(check_job(&shown, &job).is_ok(), expected, "{shown}");
        };
        check("finished", 1, &round(4), true);
        check("finished", 1, &round(3), false);
        check("finished", 1, "", false);
        check("stopped", 0, "", false);
        assert!(check_job("error", &job).is_err());
    }
}
