//! RNN (Elman, "Finding structure in time", 1990), with tanh or ReLU as `f`:
//! `hₜ = f(xₜ·Wᵀ + hₜ₋₁·Rᵀ + bW + bR)`. Saves `X` and all `hₜ`. ReLU's slope at 0 is 0.

use super::recurrent::{self, Swept};
use super::recurrent_layer::{self, Layer};
use super::recurrent_pass::Pass;
use super::scan::Turn;
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Hidden state.
const STATES: usize = 1;

pub(crate) struct Rnn;

impl Operator for Rnn {
    fn name(&self) -> &'static str {
        "RNN"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let layer = Layer::new(site, 1, STATES)?;
        activations(site, &layer)?;
        Ok(layer.outputs(STATES))
    }

    fn flops(&self, site: &Site<'_>) -> u64 {
        Layer::new(site, 1, STATES).map_or(0, |layer| layer.flops())
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

    /// With `sₜ = f'` at the step, which is known from `hₜ`: `daₜ = dhₜ·sₜ`, `dhₜ₋₁ = daₜ·R`.
    fn gradients(
        &self,
        site: &Site<'_>,
        upstream: &[Option<String>],
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let layer = Layer::new(site, 1, STATES)?;
        let activations = activations(site, &layer)?;
        recurrent::gradients(site, &layer, upstream, graph, |pass, graph| {
            let activation = activations.get(pass.direction).copied();
            sweep(activation.unwrap_or(Activation::Tanh), pass, graph)
        })
    }
}

#[derive(Clone, Copy)]
enum Activation {
    Tanh,
    Relu,
}

fn activations(site: &Site<'_>, layer: &Layer) -> Result<Vec<Activation>, String> {
    let names = recurrent_layer::activations(site, layer, &["Tanh"])?;
    let known = |name: &String| match name.to_ascii_lowercase().as_str() {
        "tanh" => Ok(Activation::Tanh),
        "relu" => Ok(Activation::Relu),
        _ => Err(format!(
            "its activation `{name}` cannot be trained, only Tanh and Relu"
        )),
    };
    names.iter().map(known).collect()
}

fn sweep(activation: Activation, pass: &Pass<'_>, graph: &mut GraphBuilder) -> Swept {
    let after = &pass.after;
    let slope = match activation {
        Activation::Tanh => {
            let one = graph.scalar(1.0);
            let square = graph.node("Mul", &[after, after], &[]);
            graph.node("Sub", &[&one, &square], &[])
        }
        // It is never negative.
        Activation::Relu => graph.node("Sign", &[after], &[]),
    };
    let slope = pass.or_beyond(slope, 0.0, graph);
    let turns = pass.backwards(
        [&pass.last],
        &[(&slope, 1)],
        [1],
        |graph, step| {
            let [gradient] = step.states;
            let sums = graph.node("Mul", &[gradient, &step.values[0]], &[]);
            Turn {
                states: [step.before(&sums, &pass.r, None, graph)],
                kept: [sums],
            }
        },
        graph,
    );
    let [sums] = turns.kept;
    Swept {
        products: vec![(sums.clone(), pass.before.clone())],
        gates: sums,
        recurrent: None,
        initial: turns.states.into(),
    }
}
