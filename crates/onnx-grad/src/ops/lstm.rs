//! LSTM (Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; with forget gates, without peepholes):
//! `i, o, f = σ(…)`, `g = tanh(…)`, each of its rows of `xₜ·Wᵀ + hₜ₋₁·Rᵀ + bW + bR`, in this order;
//! `cₜ = f·cₜ₋₁ + i·g`, `hₜ = o·tanh cₜ`. Saves `X` and all `hₜ`; gates and cells are computed anew.

use super::recurrent::{self, Swept, minus_product};
use super::recurrent_layer::{self, INITIAL_C, Layer};
use super::recurrent_pass::Pass;
use super::scan::Turn;
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

const GATES: u64 = 4;
/// Hidden state and cell.
const STATES: usize = 2;

pub(crate) struct Lstm;

impl Operator for Lstm {
    fn name(&self) -> &'static str {
        "LSTM"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let layer = Layer::new(site, GATES, STATES)?;
        recurrent_layer::default_activations(site, &layer, &["Sigmoid", "Tanh", "Tanh"])?;
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
        recurrent::gradients(site, &layer, upstream, graph, sweep)
    }
}

/// What the loop needs of all steps: `dc = dcₜ + dhₜ·cell`, the gates' sums get `[dc, dhₜ, dc, dc]·sums`,
/// and `dcₜ₋₁ = dc·forget`.
struct Slopes {
    cell: String,
    sums: String,
    forget: String,
}

fn sweep(pass: &Pass<'_>, graph: &mut GraphBuilder) -> Swept {
    let Slopes { cell, sums, forget } = slopes(pass, graph);
    let cell_gradient = pass.final_gradient(2, graph);
    let last = [
        pass.last.as_str(),
        cell_gradient.as_ref().unwrap_or(&pass.zeros),
    ];
    let turns = pass.backwards(
        last,
        &[(&cell, 1), (&sums, 4), (&forget, 1)],
        [4],
        |graph, step| {
            let [hidden, later] = step.states;
            let [cell, sums, forget] = [0, 1, 2].map(|index| step.values[index].as_str());
            let through = graph.node("Mul", &[hidden, cell], &[]);
            let own = graph.node("Add", &[later, &through], &[]);
            let each = graph.concat(&[&own, hidden, &own, &own], 1);
            let gates = graph.node("Mul", &[&each, sums], &[]);
            let earlier = graph.node("Mul", &[&own, forget], &[]);
            Turn {
                states: [step.before(&gates, &pass.r, None, graph), earlier],
                kept: [gates],
            }
        },
        graph,
    );
    let [gates] = turns.kept;
    Swept {
        products: vec![(gates.clone(), pass.before.clone())],
        gates,
        recurrent: None,
        initial: turns.states.into(),
    }
}

fn slopes(pass: &Pass<'_>, graph: &mut GraphBuilder) -> Slopes {
    let hidden = pass.layer.hidden;
    let bias = pass.bias(graph);
    let inputs = pass.of_input(bias.as_deref(), graph);
    let sums = pass.product(&pass.before, &pass.r, Some(&inputs), graph);
    let parts = graph.split(&sums, 1, &[3 * hidden, hidden]);
    let squashed = graph.node("Sigmoid", &[&parts[0]], &[]);
    let g = graph.node("Tanh", &[&parts[1]], &[]);
    let gates = graph.split(&squashed, 1, &[hidden, hidden, hidden]);
    let [i, o, f] = [0, 1, 2].map(|index| gates[index].as_str());
    let added = graph.node("Mul", &[i, &g], &[]);

    // Beyond the end of a sequence the cell stays as it was.
    let forget = pass.or_beyond(f.to_owned(), 1.0, graph);
    let entering = pass.or_beyond(added.clone(), 0.0, graph);
    let initial = pass.initial(INITIAL_C, graph);
    let cells = pass.forwards(
        &initial,
        &[&forget, &entering],
        |graph, cell, values| {
            let left = graph.node("Mul", &[&values[0], cell], &[]);
            graph.node("Add", &[&left, &values[1]], &[])
        },
        graph,
    );
    let before = pass.shifted(&cells, &initial, graph);
    let before = graph.reshape(&before, &[-1, hidden]);
    let cells = graph.reshape(&cells, &[-1, hidden]);
    let squashed_cells = graph.node("Tanh", &[&cells], &[]);

    // σ' = σ − σ², i·g' = i − (i·g)·g, and o·tanh' = o − (o·tanh)·tanh, of which o·tanh is hₜ.
    let slope = minus_product(&squashed, &squashed, &squashed, graph);
    let factors = graph.concat(&[&g, &squashed_cells, &before], 1);
    let of_sigmoids = graph.node("Mul", &[&slope, &factors], &[]);
    let of_tanh = minus_product(i, &added, &g, graph);
    let sums = graph.concat(&[&of_sigmoids, &of_tanh], 1);
    let cell = minus_product(o, &pass.after, &squashed_cells, graph);
    Slopes {
        cell: pass.or_beyond(cell, 0.0, graph),
        sums: pass.or_beyond(sums, 0.0, graph),
        forget,
    }
}
