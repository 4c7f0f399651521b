//! What Elu and Selu do alike.

use super::InputGradients;
use crate::builder::GraphBuilder;
use crate::graph::Site;

/// Gradient of an operator that is linear above 0 and an exponential below, from its output `y`:
/// `dx = rate·dy` where `x > 0`, else `dy·(y + offset)`.
pub(super) fn gradient(
    site: &Site<'_>,
    upstream: &str,
    rate: f32,
    offset: f32,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let (zero, rate, offset) = (graph.scalar(0.0), graph.scalar(rate), graph.scalar(offset));
    let positive = graph.node("Greater", &[&site.input(0)?.name, &zero], &[]);
    let below = graph.node("Add", &[&site.output()?.name, &offset], &[]);
    let slope = graph.node("Where", &[&positive, &rate, &below], &[]);
    Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
}
