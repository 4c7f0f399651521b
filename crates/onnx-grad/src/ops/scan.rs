//! Scan: a loop in a graph. ONNX Runtime runs one as fast as its steps written out, and loads it at once
//! however many there are; nodes by the thousand take it minutes.

use crate::attributes::{self, int, ints};
use crate::builder::GraphBuilder;
use crate::proto::{GraphProto, ValueInfoProto};

/// What a turn of a loop makes, and what the whole loop does.
pub(super) struct Turn<const STATES: usize, const KEPT: usize> {
    /// The states that the next turn begins with, in the order of the initial ones.
    pub(super) states: [String; STATES],
    /// What is kept of each turn; of all turns, `[T, …]`.
    pub(super) kept: [String; KEPT],
}

/// Runs a body for each element along the first axis of the sequences, backwards if so wanted. The body is
/// given the states and the elements, and may read all other values of the graph.
pub(super) fn scan<const STATES: usize, const KEPT: usize>(
    graph: &mut GraphBuilder,
    backwards: bool,
    initial: [&str; STATES],
    sequences: &[&str],
    body: impl FnOnce(&mut GraphBuilder, &[String; STATES], &[String]) -> Turn<STATES, KEPT>,
) -> Turn<STATES, KEPT> {
    let outside = std::mem::take(&mut graph.nodes);
    let states = initial.map(|_| graph.fresh("fl.state"));
    let elements: Vec<String> = sequences.iter().map(|_| graph.fresh("fl.step")).collect();
    let mut turn = body(graph, &states, &elements);
    for kept in &mut turn.kept {
        // Each output of a body must have a name of its own, and none may be an input.
        if turn.states.contains(kept) || states.contains(kept) {
            *kept = graph.node("Identity", &[kept], &[]);
        }
    }
    let nodes = std::mem::replace(&mut graph.nodes, outside);

    let body = GraphProto {
        name: Some(graph.fresh("fl.body")),
        node: nodes,
        input: infos(states.iter().chain(&elements)),
        output: infos(turn.states.iter().chain(&turn.kept)),
        ..GraphProto::default()
    };
    let directions = |count: usize| vec![i64::from(backwards); count];
    let attributes = [
        attributes::graph("body", body),
        int("num_scan_inputs", sequences.len() as i64),
        ints("scan_input_directions", &directions(sequences.len())),
        ints("scan_output_directions", &directions(KEPT)),
    ];
    let inputs = [&initial[..], sequences].concat();
    let outputs = graph.node_outputs("Scan", &inputs, &attributes, STATES + KEPT);
    let mut outputs = outputs.into_iter();
    Turn {
        states: turn.states.map(|_| outputs.next().unwrap_or_default()),
        kept: turn.kept.map(|_| outputs.next().unwrap_or_default()),
    }
}

/// Inputs and outputs of a body, whose types the runtime infers.
fn infos<'a>(names: impl Iterator<Item = &'a String>) -> Vec<ValueInfoProto> {
    names
        .map(|name| ValueInfoProto {
            name: Some(name.clone()),
            ..ValueInfoProto::default()
        })
        .collect()
}
