//! What the root says, signed, and where.

use anyhow::Context as _;
use bytes::Bytes;
use fl_model::{Epoch, JobId, LogEntry, RegionId, RoundOutcome, RoundPlan};
use fl_round::PhaseRecord;
use fl_runtime::nats::{AppendError, Nats, Stream};
use fl_telemetry::RoundTrace;
use fl_wire::subjects::{Subject, settled_filter};
use fl_wire::{Body, Encoded as _, Header, RoundSettled, SigningKey, WireError, seal, traceparent};

use crate::home::root_name;
use crate::patience::until_answered;
use crate::roster::RosterFile;

/// Signs a body of that job under the header that it asks for.
pub(crate) fn sign<B: Body>(
    body: &B,
    job: &JobId,
    epoch: Epoch,
    key: &SigningKey,
) -> Result<Vec<u8>, WireError> {
    let scope = body.scope();
    let header = Header {
        round: scope.round,
        epoch: scope.epoch.unwrap_or(epoch),
        region: scope.region,
        ..Header::new(body.kind(), &root_name()).in_job(job)
    };
    seal(&header, body, key)
}

/// Signs a plan, with its trace.
pub(crate) fn sign_plan(plan: &RoundPlan, key: &SigningKey) -> Result<Vec<u8>, WireError> {
    let header = Header::new(plan.kind(), &root_name())
        .in_round(&plan.key)
        .under(plan.epoch)
        .traced(plan.trace);
    seal(&header, plan, key)
}

/// Records of settled phases that stay for a region's fog, of each job: as many as a fog remembers
/// itself. One that was away for longer learns of the older ones no more.
const SETTLED_MAX: u64 = 64;

/// The root's voice.
pub(crate) struct Voice {
    pub(crate) nats: Nats,
    pub(crate) key: SigningKey,
    /// Held by who sends the roster to the regions.
    pub(crate) rosters: tokio::sync::Mutex<()>,
}

/// Another root has written to the job's log.
#[derive(Debug, thiserror::Error)]
#[error("another root leads {job} now: {conflict}; end this one, or the other, and start again")]
pub(crate) struct NotLeader {
    job: JobId,
    conflict: String,
}

impl Voice {
    /// Speaks over this bus, signing with this key.
    pub(crate) fn new(nats: Nats, key: SigningKey) -> Self {
        let rosters = tokio::sync::Mutex::default();
        Self { nats, key, rosters }
    }

    /// Appends to the job's log; waits for the bus as long as it is away.
    pub(crate) async fn append(
        &self,
        job: &JobId,
        entry: &LogEntry,
        epoch: Epoch,
        after: u64,
    ) -> anyhow::Result<u64> {
        let bytes: Bytes = sign(entry, job, epoch, &self.key)?.into();
        let subject = Subject::Log(job.clone()).to_string();
        let nats = &self.nats;
        let append = || nats.append(Stream::Log, &subject, bytes.clone(), after, None);
        match until_answered(append).await {
            Err(conflict @ AppendError::Conflict { .. }) => {
                let (job, conflict) = (job.clone(), conflict.to_string());
                Err(NotLeader { job, conflict }.into())
            }
            appended => appended.with_context(|| format!("log of {job}")),
        }
    }

    /// Puts a message in place of the last of its subject; waits for the bus as long as it is away.
    async fn put(
        &self,
        subject: &Subject,
        bytes: Bytes,
        trace: Option<&str>,
    ) -> anyhow::Result<()> {
        let (nats, to) = (&self.nats, subject.to_string());
        let put = || nats.put_latest(&to, bytes.clone(), trace);
        let put = until_answered(put).await;
        put.map(|_| ())
            .with_context(|| format!("message on {subject}"))
    }

    /// Sends a plan to its regions; returns the bytes of one copy.
    pub(crate) async fn plan(&self, plan: &RoundPlan, regions: &[RegionId]) -> anyhow::Result<u64> {
        let bytes: Bytes = sign_plan(plan, &self.key)?.into();
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
        let bytes: Bytes = sign(&settled, &phase.key.job, epoch, &self.key)?.into();
        for region in &phase.regions {
            let subject = Subject::Settled(region.clone(), phase.key.clone());
            self.put(&subject, bytes.clone(), None).await?;
            self.drop_old_records(region, &phase.key.job).await;
        }
        Ok(())
    }

    /// Lets old records go, so that they do not push out of the stream what is older and still counts.
    async fn drop_old_records(&self, region: &RegionId, job: &JobId) {
        let filter = settled_filter(region, job);
        let dropped = self.nats.purge_oldest(Stream::Down, &filter, SETTLED_MAX);
        if let Err(error) = dropped.await {
            tracing::debug!("old records of {job} stay until the next phase: {error}");
        }
    }

    /// Sends every region its lines of the roster, also one that has no fog any more: its fog hears so.
    pub(crate) async fn roster(&self, roster: &RosterFile) -> anyhow::Result<()> {
        for region in roster.regions_ever() {
            let bytes = roster.of_region(&region).encode()?;
            self.put(&Subject::Roster(region), bytes.into(), None)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fl_model::{Phase, RoundKey, RoundNumber};
    use fl_runtime::nats::StreamLimits;
    use fl_runtime::testing::{JETSTREAM, NatsProcess};

    use super::*;

    fn phase(job: &str, round: u32, regions: &[RegionId]) -> PhaseRecord {
        PhaseRecord {
            key: RoundKey {
                job: JobId::new(job).unwrap(),
                round: RoundNumber(round),
                phase: Phase::Train,
            },
            opened_us: 0,
            quorum: 1,
            regions: regions.to_vec(),
            accepted: Default::default(),
            absent: Vec::new(),
            closed: Some((RoundOutcome::NoQuorum, 1)),
            settled: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn old_records_go_and_what_is_older_and_counts_stays() {
        let server = NatsProcess::running(JETSTREAM);
        let nats = server.connect().await;
        nats.ensure_streams(&StreamLimits::default()).await.unwrap();
        let voice = Voice::new(nats.clone(), SigningKey::from_bytes(&[1; 32]));
        let regions = ["north", "south"].map(|name| RegionId::new(name).unwrap());
        let roster = Subject::Roster(regions[0].clone());
        voice.put(&roster, "roster".into(), None).await.unwrap();
        let rounds = SETTLED_MAX as u32 + 3;
        let other = phase("other", 0, &regions);
        voice.settled(&other, None, Epoch(1)).await.unwrap();
        for round in 0..rounds {
            let phase = phase("air", round, &regions);
            voice.settled(&phase, None, Epoch(1)).await.unwrap();
        }
        let is_there = async |subject: Subject| {
            let last = nats.last(Stream::Down, &subject.to_string()).await;
            last.unwrap().is_some()
        };
        for region in &regions {
            let record = |key: &RoundKey| Subject::Settled(region.clone(), key.clone());
            for round in 0..rounds {
                let key = phase("air", round, &regions).key;
                assert_eq!(is_there(record(&key)).await, round >= 3, "{key}");
            }
            assert!(is_there(record(&other.key)).await);
        }
        assert!(is_there(roster).await);
    }
}
