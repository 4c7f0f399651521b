//! The commands that ask a running root.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use fl_model::JobId;
use fl_runtime::control::ControlClient;
use fl_runtime::terminal::{Reader, print, print_line, show_progress};

use crate::api::{Submission, Submitted};
use crate::home::Home;
use crate::job_view::{self, JobEvent, JobView};

/// Largest job file, in bytes.
const JOB_BYTES_MAX: u64 = 1 << 20;

/// Whoever gives commands to the root of a home.
pub(crate) struct Operator {
    home: Home,
    client: ControlClient,
}

impl Operator {
    /// Finds the running root.
    pub(crate) fn of(home: Home) -> anyhow::Result<Self> {
        let client = ControlClient::open(home.folder());
        let client = client.with_context(|| {
            let serve = home.command("serve");
            format!("this command needs the running root; {serve} starts it")
        })?;
        Ok(Self { home, client })
    }

    /// Hands a job file in.
    pub(crate) async fn submit(&self, file: &Path) -> anyhow::Result<()> {
        let place = file.display().to_string();
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {place}"))?;
        if size.len() > JOB_BYTES_MAX {
            bail!("{place} is no job file: it has more than {JOB_BYTES_MAX} bytes");
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {place}"))?;
        let submission = Submission { place, text };
        let Submitted { job, parts } = self.client.post("/jobs", &submission).await?;
        let watch = self.home.command(&format!("job watch {job}"));
        print_line(format_args!(
            "job {job} is submitted{}; follow it with\n  {watch}",
            parts.map_or_else(String::new, |parts| format!(" ({parts})"))
        ))?;
        Ok(())
    }

    /// A line a job, oldest first.
    pub(crate) async fn list(&self) -> anyhow::Result<()> {
        let jobs: Vec<JobView> = self.client.get("/jobs").await?;
        print(jobs.iter().map(line).collect::<String>())?;
        Ok(())
    }

    /// A job and its rounds.
    pub(crate) async fn show(&self, job: &str, json: bool) -> anyhow::Result<()> {
        let view: JobView = self.client.get(&path(job, "")?).await?;
        if json {
            print_line(serde_json::to_string_pretty(&view)?)?;
            return Ok(());
        }
        let reason = view.reason.iter().map(|reason| format!("{reason}\n"));
        let rounds = view.history.iter();
        let rounds = rounds.map(|round| format!("{}\n", job_view::line(round)));
        let below: String = reason.chain(rounds).collect();
        print(format_args!("{}{below}", line(&view)))?;
        Ok(())
    }

    /// Follows a job until it is over, or nobody reads.
    pub(crate) async fn watch(&self, job: &str, json: bool) -> anyhow::Result<()> {
        let gone = || {
            let serve = self.home.command("serve");
            format!(
                "the root ended before job {job} did: {serve} starts it, and the job goes on where it was"
            )
        };
        let mut events = self.client.lines(&path(job, "/watch")?).await?;
        loop {
            let line = events.next::<serde_json::Value>().await;
            let line = line.with_context(gone)?.with_context(gone)?;
            // A newer root may tell of what this program does not know.
            let Ok(event) = serde_json::from_value::<JobEvent>(line) else {
                continue;
            };
            let reader = match json {
                true => print_line(serde_json::to_string(&event)?)?,
                false => tell(job, &event)?,
            };
            if reader == Reader::Gone || matches!(event, JobEvent::Ended { .. }) {
                return Ok(());
            }
        }
    }

    /// Ends a job.
    pub(crate) async fn stop(&self, job: &str) -> anyhow::Result<()> {
        let job: String = self.client.post(&path(job, "/stop")?, &()).await?;
        print_line(format_args!("job {job} is stopping"))?;
        Ok(())
    }

    /// The model that a job has trained.
    pub(crate) async fn export(&self, job: &str) -> anyhow::Result<Vec<u8>> {
        let bytes = self.client.get_bytes(&path(job, "/model")?).await?;
        Ok(bytes.to_vec())
    }
}

/// What is asked of a job. Its name is checked, for it becomes part of a path.
fn path(job: &str, what: &str) -> anyhow::Result<String> {
    JobId::new(job)?;
    Ok(format!("/jobs/{job}{what}"))
}

fn line(job: &JobView) -> String {
    format!(
        "{:<24} {:<9} {}/{} rounds  model {}  parameters {}\n",
        job.job,
        job.state,
        job.rounds_done,
        job.rounds,
        job.model,
        &job.parameters[..8.min(job.parameters.len())]
    )
}

fn tell(job: &str, event: &JobEvent) -> anyhow::Result<Reader> {
    let said = match event {
        JobEvent::Done(round) => job_view::line(round),
        JobEvent::Waiting { online, quorum } => {
            format!("waiting: {online} of {quorum} needed devices are connected")
        }
        JobEvent::Ended { how } => format!("job {job} is {how}"),
        JobEvent::Opened { round, phase } => {
            return Ok(progress(format!("round {round}: {phase} is open")));
        }
        JobEvent::Accepted {
            round,
            region,
            devices,
            ..
        } => {
            return Ok(progress(format!(
                "round {round}: {devices} devices of {region} are in"
            )));
        }
    };
    Ok(print_line(said)?)
}

/// What will be overwritten is for a terminal only.
fn progress(text: String) -> Reader {
    if std::io::stderr().is_terminal() {
        show_progress(format_args!("{text:<60}"));
    }
    Reader::There
}
