//! What a job's rounds came to, one after the other.

use fl_view::RoundView;

use super::display::RoundLine;
use super::summary::{Bytes, Missing};

/// The rounds of a job so far.
#[derive(Debug, Clone, Default)]
pub struct Course {
    rounds: Vec<RoundView>,
}

impl Course {
    /// Takes in a finished round of a federation of `devices`, and gives its line.
    pub fn add(&mut self, round: RoundView, devices: u32) -> RoundLine {
        let line = line(&round, devices);
        self.rounds.push(round);
        line
    }

    /// Rounds so far, statistics and those without quorum included.
    pub fn rounds(&self) -> &[RoundView] {
        &self.rounds
    }

    /// Rounds that made a new model.
    pub fn trained(&self) -> u32 {
        let trained = self.rounds.iter().filter(|round| round.trained()).count();
        u32::try_from(trained).unwrap_or(u32::MAX)
    }

    /// Payload over all rounds.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        for round in &self.rounds {
            bytes.edge_up += round.edge_up_bytes;
            bytes.fog_up += round.fog_up_bytes;
            bytes.down += round.down_bytes;
        }
        bytes
    }

    /// One per round, in order.
    pub fn trace_ids(&self) -> Vec<String> {
        self.rounds
            .iter()
            .map(|round| round.trace_id.clone())
            .collect()
    }

    /// Who did not count in which round, and why.
    pub fn missing(&self) -> Vec<Missing> {
        let of = |round: &RoundView| {
            let number = round.round;
            let missing = |absence: &fl_view::Missing| Missing {
                round: number,
                device: absence.who(),
                reason: absence.reason.clone(),
            };
            round.missing.iter().map(missing).collect::<Vec<_>>()
        };
        self.rounds.iter().flat_map(of).collect()
    }
}

fn line(round: &RoundView, devices: u32) -> RoundLine {
    let mut remarks = Vec::new();
    if round.outcome != "merged" {
        remarks.push("too few devices: the model stays as it was".to_owned());
    }
    match round.failovers {
        0 => {}
        1 => remarks.push("the root was started again".to_owned()),
        times => remarks.push(format!("the root was started again {times} times")),
    }
    RoundLine {
        round: round.round,
        participants: round.participants,
        expected: devices,
        loss: round.loss.or(round.train_loss),
        quality: round.accuracy.or(round.absolute_error),
        edge_up_bytes: round.edge_up_bytes,
        fog_up_bytes: round.fog_up_bytes,
        down_bytes: round.down_bytes,
        seconds: round.seconds,
        trace_id: round.trace_id.clone(),
        missing: round
            .missing
            .iter()
            .map(|absence| (absence.who(), absence.reason.clone()))
            .collect(),
        remark: (!remarks.is_empty()).then(|| remarks.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_add_up() {
        let round = |round: u32, phase: &str, outcome: &str| RoundView {
            round,
            phase: phase.to_owned(),
            outcome: outcome.to_owned(),
            participants: 2,
            expected: 3,
            train_loss: Some(0.5),
            loss: None,
            accuracy: None,
            absolute_error: Some(2.0),
            edge_up_bytes: 10,
            fog_up_bytes: 5,
            down_bytes: 1,
            seconds: 1.0,
            trace_id: format!("t{round}"),
            missing: Vec::new(),
            failovers: 0,
        };
        let mut course = Course::default();
        course.add(round(0, "statistics", "merged"), 3);
        let line = course.add(round(1, "train", "merged"), 3);
        assert_eq!(
            (line.loss, line.quality, line.remark),
            (Some(0.5), Some(2.0), None)
        );
        let mut late = round(2, "train", "no_quorum");
        late.failovers = 1;
        late.missing = vec![fl_view::Missing {
            device: None,
            region: "north".to_owned(),
            reason: "silent".to_owned(),
        }];
        let line = course.add(late, 3);
        assert!(
            line.remark
                .is_some_and(|remark| remark.contains("too few") && remark.contains("again"))
        );
        assert_eq!(
            line.missing,
            [("all of north".to_owned(), "silent".to_owned())]
        );
        assert_eq!(course.trained(), 1);
        assert_eq!(
            course.bytes(),
            Bytes {
                edge_up: 30,
                fog_up: 15,
                down: 3
            }
        );
        assert_eq!(course.trace_ids(), ["t0", "t1", "t2"]);
        assert_eq!(course.missing()[0].device, "all of north");
    }
}
