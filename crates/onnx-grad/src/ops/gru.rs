//! GRU (Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014): `z, r = σ(…)` and
//! `n = tanh(…)`, each of its rows of `xₜ·Wᵀ + bW + hₜ₋₁·Rᵀ + bR`, in this order, and
//! `hₜ = (1 − z)·n + z·hₜ₋₁`. Of `n`, `r` multiplies `hₜ₋₁` before the product by `R`, or with
//! `linear_before_reset` what the product and its bias give. Saves `X` and all `hₜ`; gates are computed anew.

use super::recurrent::{self, Swept, minus_product};
use super::recurrent_layer::{self, Layer};
use super::recurrent_pass::Pass;
use super::scan::Turn;
use super::{InputGradients, Operator};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

const GATES: u64 = 3;
/// Hidden state.
const STATES: usize = 1;

pub(crate) struct Gru;

impl Operator for Gru {
    fn name(&self) -> &'static str {
        "GRU"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let layer = Layer::new(site, GATES, STATES)?;
        recurrent_layer::default_activations(site, &layer, &["Sigmoid", "Tanh"])?;
        Ok(layer.outputs(STATES))
    }

    fn flops(&self, site: &Site<'_>) -> u64 {
        Layer::new(site, GATES, STATES).map_or(0, |layer| layer.flops())
    }

    fn differentiable(&self, input: usize) -> bool {
        recurrent_layer::differentiable(input)
    }

    fn differentiable_output(&self, output: usize) -> bool {
        output <= STATES
    }

    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        Ok(recurrent::train(site, graph))
    }

    fn gradients(
        &self,
        site: &Site<'_>,
        upstream: &[Option<String>],
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let layer = Layer::new(site, GATES, STATES)?;
        let reset_last = int_or(site.proto, "linear_before_reset", 0) != 0;
        recurrent::gradients(
            site,
            &layer,
            upstream,
            graph,
            |pass, graph| match reset_last {
                true => sweep_reset_last(pass, graph),
                false => sweep_reset_first(pass, graph),
            },
        )
    }
}

/// What the loop needs of all steps, `[T·N, H]`, whichever way `r` is used.
struct Slopes {
    /// Gradient of `z`'s sum for each gradient of `hₜ`.
    update: String,
    /// That of `n`'s sum.
    new: String,
    /// `z`, by which the gradient of `hₜ` reaches `hₜ₋₁` directly.
    kept: String,
    /// The slope of `r`.
    reset: String,
}

/// Slopes from the gates `[z, r]` and `n`.
fn slopes(pass: &Pass<'_>, gates: &str, z: &str, n: &str, graph: &mut GraphBuilder) -> Slopes {
    let hidden = pass.layer.hidden;
    let slope = minus_product(gates, gates, gates, graph);
    let slope = graph.split(&slope, 1, &[hidden, hidden]);
    let change = graph.node("Sub", &[&pass.before, n], &[]);
    let update = graph.node("Mul", &[&change, &slope[0]], &[]);
    let one = graph.scalar(1.0);
    let taken = graph.node("Sub", &[&one, z], &[]);
    let squashed = graph.node("Mul", &[&taken, n], &[]);
    // (1 − z)·tanh' = (1 − z) − (1 − z)·n·n.
    let new = minus_product(&taken, &squashed, n, graph);
    Slopes {
        update: pass.or_beyond(update, 0.0, graph),
        new: pass.or_beyond(new, 0.0, graph),
        kept: pass.or_beyond(z.to_owned(), 0.0, graph),
        reset: slope[1].clone(),
    }
}

/// With `m = hₜ₋₁·Rₙᵀ + bRₙ` and `n = tanh(xₜ·Wₙᵀ + bWₙ + r·m)` all gradients of sums are multiples of
/// `dhₜ`; that of `m` is `r` times that of `n`'s sum.
fn sweep_reset_last(pass: &Pass<'_>, graph: &mut GraphBuilder) -> Swept {
    let hidden = pass.layer.hidden;
    let two = [2 * hidden, hidden];
    let biases = pass.biases.as_ref();
    let of_x = pass.of_input(biases.map(|[w, _]| w.as_str()), graph);
    let of_x = graph.split(&of_x, 1, &two);
    let bias = biases.map(|[_, r]| r.as_str());
    let of_h = pass.product(&pass.before, &pass.r, bias, graph);
    let of_h = graph.split(&of_h, 1, &two);
    let sums = graph.node("Add", &[&of_x[0], &of_h[0]], &[]);
    let gates = graph.node("Sigmoid", &[&sums], &[]);
    let parts = graph.split(&gates, 1, &[hidden, hidden]);
    let (z, r, m) = (&parts[0], &parts[1], &of_h[1]);
    let reset = graph.node("Mul", &[r, m], &[]);
    let sum = graph.node("Add", &[&of_x[1], &reset], &[]);
    let n = graph.node("Tanh", &[&sum], &[]);

    let slopes = slopes(pass, &gates, z, &n, graph);
    let through = graph.node("Mul", &[&slopes.new, m], &[]);
    let of_r = graph.node("Mul", &[&through, &slopes.reset], &[]);
    let of_m = graph.node("Mul", &[&slopes.new, r], &[]);
    let all = graph.concat(&[&slopes.update, &of_r, &of_m], 1);
    let turns = pass.backwards(
        [&pass.last],
        &[(&all, 3), (&slopes.kept, 1)],
        [3, 1],
        |graph, step| {
            let [gradient] = step.states;
            let each = graph.concat(&[gradient, gradient, gradient], 1);
            let sums = graph.node("Mul", &[&each, &step.values[0]], &[]);
            let direct = graph.node("Mul", &[gradient, &step.values[1]], &[]);
            Turn {
                states: [step.before(&sums, &pass.r, Some(direct), graph)],
                kept: [sums, gradient.clone()],
            }
        },
        graph,
    );
    let [recurrent, gradient] = turns.kept;
    let of_n = graph.node("Mul", &[&gradient, &slopes.new], &[]);
    let of_gates = graph.slice(&recurrent, &[1], &[0], &[2 * hidden]);
    Swept {
        gates: graph.concat(&[&of_gates, &of_n], 1),
        products: vec![(recurrent.clone(), pass.before.clone())],
        recurrent: Some(recurrent),
        initial: turns.states.into(),
    }
}

/// With `n = tanh(xₜ·Wₙᵀ + (r·hₜ₋₁)·Rₙᵀ + b)` the gradient of `r·hₜ₋₁` is the product of that of `n`'s sum
/// by `Rₙ`, and only from it follows that of `r`.
fn sweep_reset_first(pass: &Pass<'_>, graph: &mut GraphBuilder) -> Swept {
    let hidden = pass.layer.hidden;
    let two = [2 * hidden, hidden];
    let bias = pass.bias(graph);
    let of_x = pass.of_input(bias.as_deref(), graph);
    let of_x = graph.split(&of_x, 1, &two);
    let rows = graph.split(&pass.r, 0, &two);
    let sums = pass.product(&pass.before, &rows[0], Some(&of_x[0]), graph);
    let gates = graph.node("Sigmoid", &[&sums], &[]);
    let parts = graph.split(&gates, 1, &[hidden, hidden]);
    let (z, r) = (&parts[0], &parts[1]);
    let reset = graph.node("Mul", &[r, &pass.before], &[]);
    let sum = pass.product(&reset, &rows[1], Some(&of_x[1]), graph);
    let n = graph.node("Tanh", &[&sum], &[]);

    let slopes = slopes(pass, &gates, z, &n, graph);
    let of_r = graph.node("Mul", &[&pass.before, &slopes.reset], &[]);
    let both = graph.concat(&[&slopes.update, &of_r], 1);
    let turns = pass.backwards(
        [&pass.last],
        &[(&slopes.new, 1), (&both, 2), (&slopes.kept, 1), (r, 1)],
        [1, 2],
        |graph, step| {
            let [gradient] = step.states;
            let [new, both, kept, r] = [0, 1, 2, 3].map(|index| step.values[index].as_str());
            let of_n = graph.node("Mul", &[gradient, new], &[]);
            let of_reset = graph.node("Gemm", &[&of_n, &rows[1]], &[]);
            let each = graph.concat(&[gradient, &of_reset], 1);
            let of_gates = graph.node("Mul", &[&each, both], &[]);
            let direct = graph.node("Mul", &[gradient, kept], &[]);
            let by_reset = graph.node("Mul", &[&of_reset, r], &[]);
            let direct = graph.node("Add", &[&direct, &by_reset], &[]);
            Turn {
                states: [step.before(&of_gates, &rows[0], Some(direct), graph)],
                kept: [of_n, of_gates],
            }
        },
        graph,
    );
    let [of_n, of_gates] = turns.kept;
    Swept {
        gates: graph.concat(&[&of_gates, &of_n], 1),
        products: vec![(of_gates, pass.before.clone()), (of_n, reset)],
        recurrent: None,
        initial: turns.states.into(),
    }
}
