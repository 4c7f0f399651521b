//! Where the time of a training step goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fl_model::TrainingSpec;
use serde::Deserialize;

use super::{Network, must};
use crate::engine::Session;
use crate::engine::onnx_runtime::Loaded;
use crate::runtime::profiled_session;
use crate::{LocalTrainer, TrainError};

/// Steps that are measured, after those that warm up.
const STEPS: usize = 20;
const WARM_UP: usize = 3;

/// What the runtime writes of an event.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    name: String,
    /// When it began, µs.
    #[serde(default)]
    ts: f64,
    /// How long it took, µs.
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
}

/// Microseconds of a plain training step in each operator of the graph as the runtime has rewritten it, the
/// longest first. The profile is written into `folder` and removed.
pub fn operator_times(network: &Network, batch: usize, folder: &Path) -> Vec<(String, f64)> {
    let spec = TrainingSpec {
        local_epochs: (WARM_UP + STEPS) as u32,
        batch_size: batch as u32,
        ..TrainingSpec::plain(network.loss, 1e-4)
    };
    let session = |graph: &[u8]| -> Result<Box<dyn Session>, TrainError> {
        let session = profiled_session(graph, &folder.join("profile"))?;
        Ok(Box::new(Loaded(session)))
    };
    let trainer = LocalTrainer::in_session((&network.model).into(), &spec, session);
    let mut trainer = must("trainer", trainer);
    let examples = network.examples(batch);
    must("step", trainer.run(&network.parameters, &examples, [7; 32]));
    let file = must("profile", trainer.end_profiling().ok_or("there is none"));
    let json = must(&file, fs::read(&file));
    must(&file, fs::remove_file(&file));
    let events: Vec<Event> = must(&file, serde_json::from_slice(&json));
    by_operator(&events)
}

fn by_operator(events: &[Event]) -> Vec<(String, f64)> {
    let is_node = |event: &&Event| event.cat == "Node" && event.name.ends_with("_kernel_time");
    let mut nodes: Vec<&Event> = events.iter().filter(is_node).collect();
    // The nodes of a loop's body are in the time of the loop.
    nodes.sort_by(|a, b| a.ts.total_cmp(&b.ts).then(b.dur.total_cmp(&a.dur)));
    let mut end = f64::NEG_INFINITY;
    nodes.retain(|node| {
        let is_outer = node.ts >= end;
        if is_outer {
            end = node.ts + node.dur;
        }
        is_outer
    });
    // The same nodes in the same order every step; the median, since a machine has other work too.
    let each = nodes.len() / (WARM_UP + STEPS);
    let mut times: BTreeMap<&str, f64> = BTreeMap::new();
    for place in 0..each {
        let steps = nodes.iter().skip(place).step_by(each).skip(WARM_UP);
        let mut own: Vec<f64> = steps.map(|event| event.dur).collect();
        own.sort_by(f64::total_cmp);
        *times.entry(&nodes[place].args.op_name).or_default() += own[own.len() / 2];
    }
    let mut times: Vec<(String, f64)> = times
        .into_iter()
        .map(|(operator, time)| (operator.to_owned(), time))
        .collect();
    times.sort_by(|a, b| b.1.total_cmp(&a.1));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loop_runs_is_in_the_loops_time() {
        let node = |operator: &str, ts: f64, dur: f64| Event {
            cat: "Node".to_owned(),
            name: format!("{operator}_kernel_time"),
            ts,
            dur,
            args: Arguments {
                op_name: operator.to_owned(),
            },
        };
        let step = |index: usize| {
            let start = index as f64 * 100.0;
            // A loop is told of when it has ended, behind its body.
            [
                node("Gemm", start, 10.0),
                node("Mul", start + 12.0, 5.0),
                node("Mul", start + 20.0, 5.0),
                node("Scan", start + 11.0, 30.0),
            ]
        };
        let events: Vec<Event> = (0..WARM_UP + STEPS).flat_map(step).collect();
        let expected = [("Scan".to_owned(), 30.0), ("Gemm".to_owned(), 10.0)];
        assert_eq!(by_operator(&events), expected);
    }
}
