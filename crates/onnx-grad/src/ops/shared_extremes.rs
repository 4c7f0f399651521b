//! What Max and Min do alike: the gradient goes to the input that was taken.

use super::{InputGradients, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::Element;

/// Gradients of the inputs. `beats` is the comparison of an input that is taken with one that is not.
/// Where several inputs are taken they share evenly, as PyTorch has it for two.
pub(super) fn gradients(
    site: &Site<'_>,
    upstream: &str,
    beats: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let parts = match site.proto.input.len() {
        1 => vec![Some(upstream.to_owned())],
        2 => of_two(site, upstream, beats, graph)?,
        count => of_many(site, upstream, count, graph)?,
    };
    shared::unbroadcast_all(site, parts, graph)
}

/// All of `dy` to the one that beats the other, half where neither does.
fn of_two(
    site: &Site<'_>,
    upstream: &str,
    beats: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let names = [&site.input(0)?.name, &site.input(1)?.name];
    let part = |own: usize, graph: &mut GraphBuilder| {
        let other = 1 - own;
        let (zero, half) = (graph.scalar(0.0), graph.scalar(0.5));
        let won = graph.node(beats, &[names[own], names[other]], &[]);
        let lost = graph.node(beats, &[names[other], names[own]], &[]);
        let shared = graph.node("Mul", &[upstream, &half], &[]);
        let rest = graph.node("Where", &[&lost, &zero, &shared], &[]);
        graph.node("Where", &[&won, upstream, &rest], &[])
    };
    if !site.wants(0) {
        return Ok(vec![None, Some(part(1, graph))]);
    }
    let left = part(0, graph);
    // What the one does not get the other does.
    let right = site
        .wants(1)
        .then(|| graph.node("Sub", &[upstream, &left], &[]));
    Ok(vec![Some(left), right])
}

/// `dy` divided by the number of inputs that were taken.
fn of_many(
    site: &Site<'_>,
    upstream: &str,
    count: usize,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let y = &site.output()?.name;
    let mut taken = Vec::with_capacity(count);
    for index in 0..count {
        let equal = graph.node("Equal", &[&site.input(index)?.name, y], &[]);
        taken.push(graph.cast(&equal, Element::F32));
    }
    let masks: Vec<&str> = taken.iter().map(String::as_str).collect();
    let winners = graph.node("Sum", &masks, &[]);
    let part = graph.node("Div", &[upstream, &winners], &[]);
    let inputs = taken.iter().enumerate();
    let parts = inputs.map(|(index, mask)| {
        site.wants(index)
            .then(|| graph.node("Mul", &[&part, mask], &[]))
    });
    Ok(parts.collect())
}
