//! What the root says, signed, and where.

use anyhow::Context as _;
use bytes::Bytes;
use fl_model::{Epoch, JobId, LogEntry, RegionId, RoundOutcome, RoundPlan};
use fl_round::PhaseRecord;
use fl_runtime::nats::{AppendError, Nats, Stream};
use fl_telemetry::RoundTrace;
use fl_wire::subjects::Subject;
use fl_wire::{Body, Encoded as _, Header, RoundSettled, SigningKey, seal, traceparent};
use tokio::time::{Duration, sleep};

use crate::home::root_name;
use crate::roster::RosterFile;

/// Between two tries while the bus is away.
const RETRY: Duration = Duration::from_millis(500);

/// The root's voice.
#[derive(Clone)]
pub(crate) struct Voice {
    pub(crate) nats: Nats,
    pub(crate) key: SigningKey,
}

/// Another root has written to the job's log.
#[derive(Debug, thiserror::Error)]
#[error("another root leads {job} now: {conflict}; end this one, or the other, and start again")]
pub(crate) struct NotLeader {
    job: JobId,
    conflict: String,
}

impl Voice {
    /// Signs a body of that job under the header that it asks for.
    fn sign<B: Body>(&self, body: &B, job: &JobId, epoch: Epoch) -> anyhow::Result<Vec<u8>> {
        let scope = body.scope();
        let header = Header {
            round: scope.round,
            epoch: scope.epoch.unwrap_or(epoch),
            region: scope.region,
            ..Header::new(body.kind(), &root_name()).in_job(job)
        };
        Ok(seal(&header, body, &self.key)?)
    }

    /// Appends to the job's log; waits for the bus as long as it is away.
    pub(crate) async fn append(
        &self,
        job: &JobId,
        entry: &LogEntry,
        epoch: Epoch,
        after: u64,
    ) -> anyhow::Result<u64> {
        let bytes: Bytes = self.sign(entry, job, epoch)?.into();
        let subject = Subject::Log(job.clone()).to_string();
        let mut told = false;
        loop {
            let appended = self
                .nats
                .append(Stream::Log, &subject, bytes.clone(), after, None)
                .await;
            match appended {
                Ok(sequence) => return Ok(sequence),
                Err(AppendError::Unavailable { why, .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the log of {job} takes nothing now ({why}): waiting");
                    }
                    sleep(RETRY).await;
                }
                Err(conflict @ AppendError::Conflict { .. }) => {
                    let (job, conflict) = (job.clone(), conflict.to_string());
                    return Err(NotLeader { job, conflict }.into());
                }
                Err(error) => return Err(error).context(format!("log of {job}")),
            }
        }
    }

    /// Puts a message in place of the last of its subject; waits for the bus as long as it is away.
    async fn put(
        &self,
        subject: &Subject,
        bytes: Bytes,
        trace: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            match self
                .nats
                .put_latest(&subject.to_string(), bytes.clone(), trace)
                .await
            {
                Ok(_) => return Ok(()),
                Err(AppendError::Unavailable { why, .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("{subject} takes nothing now ({why}): waiting");
                    }
                    sleep(RETRY).await;
                }
                Err(error) => return Err(error).context(format!("message on {subject}")),
            }
        }
    }

    /// Sends a plan to its regions; returns the bytes of one copy.
    pub(crate) async fn plan(&self, plan: &RoundPlan, regions: &[RegionId]) -> anyhow::Result<u64> {
        let header = Header::new(plan.kind(), &root_name())
            .in_round(&plan.key)
            .under(plan.epoch)
            .traced(plan.trace);
        let bytes: Bytes = seal(&header, plan, &self.key)?.into();
        let trace = traceparent(&plan.trace);
        for region in regions {
            let subject = Subject::Plan(region.clone(), plan.key.job.clone());
            self.put(&subject, bytes.clone(), Some(&trace)).await?;
        }
        Ok(bytes.len() as u64)
    }

    /// Takes a job's plan back from the regions.
    pub(crate) async fn clear_plan(&self, job: &JobId, regions: &[RegionId]) -> anyhow::Result<()> {
        for region in regions {
            let subject = Subject::Plan(region.clone(), job.clone());
            self.put(&subject, Bytes::new(), None).await?;
        }
        Ok(())
    }

    /// Tells the regions how a phase ended.
    pub(crate) async fn settled(
        &self,
        phase: &PhaseRecord,
        trace: Option<&RoundTrace>,
        epoch: Epoch,
    ) -> anyhow::Result<()> {
        let accepted = phase.accepted.iter();
        let window = |region: &RegionId| {
            let time = trace?.region_window(region.as_str())?;
            Some((region.clone(), (time.start_us(), time.end_us())))
        };
        let settled = RoundSettled {
            key: phase.key.clone(),
            outcome: phase
                .closed
                .map_or(RoundOutcome::NoQuorum, |(outcome, _)| outcome),
            accepted: accepted
                .map(|(region, of)| (region.clone(), of.digest))
                .collect(),
            absent: phase.absent.clone(),
            windows: phase.regions.iter().filter_map(window).collect(),
        };
        let bytes: Bytes = self.sign(&settled, &phase.key.job, epoch)?.into();
        for region in &phase.regions {
            let subject = Subject::Settled(region.clone(), phase.key.clone());
            self.put(&subject, bytes.clone(), None).await?;
        }
        Ok(())
    }

    /// Sends every region its lines of the roster.
    pub(crate) async fn roster(&self, roster: &RosterFile) -> anyhow::Result<()> {
        for region in roster.regions().keys() {
            let bytes = roster.of_region(region).encode()?;
            self.put(&Subject::Roster(region.clone()), bytes.into(), None)
                .await?;
        }
        Ok(())
    }
}
