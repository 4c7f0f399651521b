//! What LSTM, GRU and RNN share: their shapes, and of their gradients all but what happens within a step.
//!
//! The forward pass stays with the fused node, which gives the hidden states of all steps. The backward pass
//! first computes, for all steps at once, the gates from `X` and the states before each step, and how a
//! step's gradient depends on them. Only then does a loop run from the last step to the first, in which a
//! step is one product by `R` and a few elementwise nodes. The gradients of `X`, `W`, `R` and `B` follow
//! as one product each over all steps.
//!
//! Outside of loops a value of all steps has a row for each step and example, `[T·N, …]`; loops cut
//! `[T, N, …]`. In the reverse direction a step's state comes from the step after it in time.

use super::InputGradients;
use super::recurrent_layer::{B, INITIAL_C, INITIAL_H, LENGTHS, Layer, R, W, X};
use super::recurrent_pass::Pass;
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Element, as_reshape};

/// What the hidden states of all steps are saved as, where the model does not name them.
const STATES: &str = "hidden states";

/// In training the hidden states of all steps are always made.
pub(super) fn train(site: &Site<'_>, graph: &mut GraphBuilder) -> bool {
    if site.optional_output(0).is_some() {
        return false;
    }
    let Some(key) = first_output(site) else {
        return false;
    };
    let states = graph.fresh("fl.Y");
    let mut node = site.proto.clone();
    node.output[0] = states.clone();
    graph.nodes.push(node);
    graph.save(key, STATES, states);
    true
}

fn first_output<'a>(site: &'a Site<'_>) -> Option<&'a str> {
    let outputs = (0..3).filter_map(|index| site.optional_output(index));
    outputs.map(|value| value.name.as_str()).next()
}

/// What the way back through one direction has made.
pub(super) struct Swept {
    /// Gradients of the gates' sums, of that part which comes from X, `[T·N, G·H]`.
    pub(super) gates: String,
    /// Of the part that comes from the state, where it differs.
    pub(super) recurrent: Option<String>,
    /// The products by R: gradients of rows of gates, and what the rows of R were multiplied by.
    pub(super) products: Vec<(String, String)>,
    /// Gradients of the initial states, `[N, H]`.
    pub(super) initial: Vec<String>,
}

/// What the directions share.
pub(super) struct Whole<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) layer: &'a Layer,
    pub(super) upstream: &'a [Option<String>],
    pub(super) x: String,
    pub(super) y: String,
    pub(super) within: Option<String>,
    pub(super) zeros: String,
}

/// Gradients of all inputs, given the way back through the steps of one direction.
pub(super) fn gradients<'a>(
    site: &'a Site<'a>,
    layer: &'a Layer,
    upstream: &'a [Option<String>],
    graph: &mut GraphBuilder,
    sweep: impl Fn(&Pass<'_>, &mut GraphBuilder) -> Swept,
) -> Result<InputGradients, String> {
    let whole = whole(site, layer, upstream, graph)?;
    let mut x: Option<String> = None;
    let mut parts: Vec<Vec<String>> = vec![Vec::new(); INITIAL_C + 1];
    for direction in 0..layer.reverse.len() {
        let pass = Pass::new(&whole, direction, graph)?;
        let swept = sweep(&pass, graph);
        if site.wants(X) {
            let inputs: Vec<&str> = [swept.gates.as_str(), &pass.w]
                .into_iter()
                .chain(x.as_deref())
                .collect();
            x = Some(graph.node("Gemm", &inputs, &[]));
        }
        let products = swept
            .products
            .iter()
            .map(|(gates, state)| (R, gates, state));
        for (input, gates, by) in std::iter::once((W, &swept.gates, &pass.x)).chain(products) {
            if site.wants(input) {
                parts[input].push(graph.node("Gemm", &[gates, by], &[int("transA", 1)]));
            }
        }
        if site.wants(B) {
            let sum = graph.reduce_sum(&swept.gates, &[0], false);
            let recurrent = swept.recurrent.as_ref();
            let of_r = recurrent.map(|gates| graph.reduce_sum(gates, &[0], false));
            parts[B].extend([sum.clone(), of_r.unwrap_or(sum)]);
        }
        for (input, gradient) in [INITIAL_H, INITIAL_C].into_iter().zip(swept.initial) {
            if site.wants(input) {
                parts[input].push(gradient);
            }
        }
    }
    parts[X].extend(x);
    let joined = parts.into_iter().enumerate();
    Ok(joined
        .map(|(input, parts)| join(site, input, &parts, graph))
        .collect())
}

/// The gradients of all directions in the shape of the input; none where none was wanted.
fn join(
    site: &Site<'_>,
    input: usize,
    parts: &[String],
    graph: &mut GraphBuilder,
) -> Option<String> {
    let shape = as_reshape(site.optional(input)?.shape());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let whole = match parts[..] {
        [] => return None,
        [only] => only.to_owned(),
        _ => graph.concat(&parts, 0),
    };
    Some(graph.reshape(&whole, &shape))
}

/// What both directions need.
fn whole<'a>(
    site: &'a Site<'a>,
    layer: &'a Layer,
    upstream: &'a [Option<String>],
    graph: &mut GraphBuilder,
) -> Result<Whole<'a>, String> {
    let y = match site.optional_output(0) {
        Some(value) => value.name.clone(),
        None => graph.saved(first_output(site).unwrap_or_default(), STATES)?,
    };
    let sizes = graph.node("Shape", &[&y], &[]);
    let sizes = graph.slice(&sizes, &[0], &[2], &[4]);
    Ok(Whole {
        site,
        layer,
        upstream,
        x: graph.reshape(&site.input(X)?.name, &[-1, layer.input]),
        y,
        within: site
            .optional(LENGTHS)
            .map(|lengths| within(&lengths.name, layer.steps, graph)),
        zeros: graph.node("ConstantOfShape", &[&sizes], &[]),
    })
}

/// Whether a step is before the end of an example's sequence, `[T, N, 1]`.
fn within(lengths: &str, steps: i64, graph: &mut GraphBuilder) -> String {
    let to = i64::from(Element::I64.to_proto());
    let lengths = graph.node("Cast", &[lengths], &[int("to", to)]);
    let lengths = graph.reshape(&lengths, &[1, -1, 1]);
    let all: Vec<i64> = (0..steps).collect();
    let all = graph.integers(&all);
    let all = graph.reshape(&all, &[-1, 1, 1]);
    graph.node("Less", &[&all, &lengths], &[])
}

/// The part of one direction, in another shape.
pub(super) fn part(
    layer: &Layer,
    value: &str,
    axis: i64,
    direction: usize,
    shape: &[i64],
    graph: &mut GraphBuilder,
) -> String {
    let at = direction as i64;
    if layer.directions() == 1 {
        return graph.reshape(value, shape);
    }
    let own = graph.slice(value, &[axis], &[at], &[at + 1]);
    graph.reshape(&own, shape)
}

/// `a − b·c`.
pub(super) fn minus_product(a: &str, b: &str, c: &str, graph: &mut GraphBuilder) -> String {
    let product = graph.node("Mul", &[b, c], &[]);
    graph.node("Sub", &[a, &product], &[])
}
