//! Scan: a loop in a graph. ONNX Runtime runs one as fast as its turns written out, and loads it at once
//! however many there are; nodes by the thousand take it minutes. For runtimes without loops they are written
//! out.

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

/// What a loop goes over.
pub(super) struct Over<'a, const STATES: usize> {
    /// Length of the sequences.
    pub(super) steps: i64,
    /// Whether the last element comes first.
    pub(super) backwards: bool,
    /// The states that the first turn begins with.
    pub(super) initial: [&'a str; STATES],
    /// Values `[T, …]`, of which each turn gets one element.
    pub(super) sequences: &'a [&'a str],
}

/// Runs a body for each element along the first axis of the sequences. The body is given the states and the
/// elements, and may read all other values of the graph.
pub(super) fn scan<const STATES: usize, const KEPT: usize>(
    graph: &mut GraphBuilder,
    over: &Over<'_, STATES>,
    body: impl Fn(&mut GraphBuilder, &[String; STATES], &[String]) -> Turn<STATES, KEPT>,
) -> Turn<STATES, KEPT> {
    match graph.kernels.simple {
        true => written_out(graph, over, body),
        false => looped(graph, over, body),
    }
}

/// The turns one after the other.
fn written_out<const STATES: usize, const KEPT: usize>(
    graph: &mut GraphBuilder,
    over: &Over<'_, STATES>,
    body: impl Fn(&mut GraphBuilder, &[String; STATES], &[String]) -> Turn<STATES, KEPT>,
) -> Turn<STATES, KEPT> {
    let first = graph.integers(&[0]);
    let ones = vec![1; over.steps as usize];
    let cut = over.sequences.iter();
    let cut: Vec<Vec<String>> = cut.map(|value| graph.split(value, 0, &ones)).collect();
    let mut states = over.initial.map(str::to_owned);
    let mut kept = [(); KEPT].map(|()| vec![String::new(); ones.len()]);
    let mut turns: Vec<usize> = (0..ones.len()).collect();
    if over.backwards {
        turns.reverse();
    }
    for at in turns {
        let own = cut.iter().map(|parts| &parts[at]);
        let elements: Vec<String> = own
            .map(|part| graph.node("Squeeze", &[part, &first], &[]))
            .collect();
        let turn = body(graph, &states, &elements);
        for (all, own) in kept.iter_mut().zip(&turn.kept) {
            all[at] = graph.node("Unsqueeze", &[own, &first], &[]);
        }
        states = turn.states;
    }
    Turn {
        states,
        kept: kept.map(|parts| graph.concat(&parts, 0)),
    }
}

/// A node that runs the turns.
fn looped<const STATES: usize, const KEPT: usize>(
    graph: &mut GraphBuilder,
    over: &Over<'_, STATES>,
    body: impl Fn(&mut GraphBuilder, &[String; STATES], &[String]) -> Turn<STATES, KEPT>,
) -> Turn<STATES, KEPT> {
    let Over {
        backwards,
        initial,
        sequences,
        ..
    } = *over;
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
