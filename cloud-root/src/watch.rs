//! A job's events for one who follows it, from its first round on.

use std::collections::VecDeque;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::job_view::{JobEvent, JobView};

/// Events of a job, until it is over.
pub(crate) struct Watch {
    events: Receiver<JobEvent>,
    due: VecDeque<JobEvent>,
    /// The last round that was told.
    told: Option<u32>,
    over: bool,
}

impl Watch {
    /// Begins with the rounds of `view`; `events` brings what happens after it.
    pub(crate) fn new(view: JobView, events: Receiver<JobEvent>) -> Self {
        let mut watch = Self {
            events,
            due: VecDeque::new(),
            told: None,
            over: false,
        };
        watch.catch_up(view);
        watch
    }

    fn catch_up(&mut self, view: JobView) {
        let over = view.is_over();
        let rounds = view.history.into_iter();
        let untold = rounds.filter(|round| self.told < Some(round.round));
        let done = untold.map(|round| JobEvent::Done(Box::new(round)));
        self.due.extend(done);
        if over {
            self.due.push_back(JobEvent::Ended { how: view.state });
        }
    }

    /// The next event; none after the last. One who reads slowly misses events, but no round: `now` gives
    /// the job as it stands.
    pub(crate) async fn next(&mut self, now: impl Fn() -> Option<JobView>) -> Option<JobEvent> {
        loop {
            if self.over {
                return None;
            }
            if let Some(event) = self.due.pop_front() {
                match &event {
                    JobEvent::Done(round) => self.told = Some(round.round),
                    JobEvent::Ended { .. } => self.over = true,
                    _ => {}
                }
                return Some(event);
            }
            match self.events.recv().await {
                Ok(JobEvent::Done(round)) if Some(round.round) <= self.told => {}
                Ok(event) => self.due.push_back(event),
                Err(RecvError::Lagged(_)) => self.catch_up(now()?),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fl_round::RootRound;
    use tokio::sync::broadcast;

    use super::*;
    use crate::job_view::{self, RoundView};
    use crate::settings::RoundSettings;
    use crate::testing::{spec, submitted};

    fn round(number: u32) -> RoundView {
        let json = serde_json::json!({
            "round": number, "phase": "train", "outcome": "merged", "participants": 1, "expected": 1,
            "edge_up_bytes": 0, "fog_up_bytes": 0, "down_bytes": 0, "seconds": 0.1, "trace_id": "",
            "missing": [], "failovers": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    fn view(rounds: u32, state: &str) -> JobView {
        let limits = RoundSettings::default().limits();
        let root = RootRound::replay(limits, &[submitted(spec())]).unwrap();
        let mut view = job_view::job(&root, true, (0..rounds).map(round).collect());
        view.state = state.to_owned();
        view
    }

    #[tokio::test]
    async fn one_who_reads_slowly_misses_no_round() {
        let (events, receiver) = broadcast::channel(2);
        let mut watch = Watch::new(view(2, "running"), receiver);
        for number in 2..9 {
            events
                .send(job_view::opened(number, fl_model::Phase::Train))
                .unwrap();
            events
                .send(JobEvent::Done(Box::new(round(number))))
                .unwrap();
        }
        let how = || "finished".to_owned();
        events.send(JobEvent::Ended { how: how() }).unwrap();
        let mut rounds = Vec::new();
        let mut last = None;
        while let Some(event) = watch.next(|| Some(view(9, "finished"))).await {
            if let JobEvent::Done(round) = &event {
                rounds.push(round.round);
            }
            last = Some(event);
        }
        assert_eq!(rounds, (0..9).collect::<Vec<_>>());
        assert_eq!(last, Some(JobEvent::Ended { how: how() }));
    }
}
