//! Parameter updates as graph nodes.

use fl_model::{LocalOptimizer, TrainingSpec};

use crate::builder::GraphBuilder;
use crate::differentiate::Move;
use crate::error::ModelError;
use crate::forward::Parameter;
use crate::training::StateSlot;

/// What the optimiser of one parameter reads.
pub(crate) struct Update<'a> {
    pub(crate) parameter: &'a Parameter,
    /// How a step moves it.
    pub(crate) moves: &'a Move,
    /// The global parameter that the proximal term pulls towards.
    pub(crate) anchor: Option<&'a str>,
}

/// Writes the updates of all parameters, whose new values it names in order, and the state they need.
pub(crate) fn write(
    spec: &TrainingSpec,
    updates: &[Update<'_>],
    graph: &mut GraphBuilder,
) -> Result<(Vec<String>, Vec<StateSlot>), ModelError> {
    check(spec)?;
    let mut state = Vec::new();
    let outputs = match spec.optimizer {
        LocalOptimizer::Sgd { momentum } => updates
            .iter()
            .map(|update| match update.moves {
                Move::To(value) => value.clone(),
                Move::Gradient(gradient) => {
                    let gradient = penalized(spec, update, gradient, graph);
                    sgd(spec, momentum, update, gradient, graph, &mut state)
                }
            })
            .collect(),
        LocalOptimizer::Adam {
            beta1,
            beta2,
            epsilon,
        } => {
            let rates = [beta1, beta2].map(|beta| bias_correction(beta, graph, &mut state));
            updates
                .iter()
                .map(|update| match update.moves {
                    Move::To(value) => value.clone(),
                    Move::Gradient(gradient) => {
                        let moments = Moments {
                            beta1,
                            beta2,
                            epsilon,
                            rates: &rates,
                        };
                        let gradient = penalized(spec, update, gradient, graph);
                        adam(spec, &moments, update, &gradient, graph, &mut state)
                    }
                })
                .collect()
        }
    };
    Ok((outputs, state))
}

fn check(spec: &TrainingSpec) -> Result<(), ModelError> {
    let below_one = |value: f32| (0.0..1.0).contains(&value);
    let at_least_zero = |value: f32| value.is_finite() && value >= 0.0;
    let positive = |value: f32| value.is_finite() && value > 0.0;
    let mut checks = vec![
        (
            "learning_rate",
            spec.learning_rate,
            positive(spec.learning_rate),
            "positive",
        ),
        (
            "weight_decay",
            spec.weight_decay,
            at_least_zero(spec.weight_decay),
            "0 or more",
        ),
        (
            "proximal",
            spec.proximal,
            at_least_zero(spec.proximal),
            "0 or more",
        ),
    ];
    match spec.optimizer {
        LocalOptimizer::Sgd { momentum } => {
            checks.push((
                "momentum",
                momentum,
                below_one(momentum),
                "from 0 to below 1",
            ));
        }
        LocalOptimizer::Adam {
            beta1,
            beta2,
            epsilon,
        } => checks.extend([
            ("beta1", beta1, below_one(beta1), "from 0 to below 1"),
            ("beta2", beta2, below_one(beta2), "from 0 to below 1"),
            ("epsilon", epsilon, positive(epsilon), "positive"),
        ]),
    }
    match checks.into_iter().find(|(_, _, fine, _)| !fine) {
        None => Ok(()),
        Some((name, value, _, range)) => Err(ModelError::Setting { name, value, range }),
    }
}

/// The gradient with L2 penalty and proximal term: `g + λ·w + µ·(w − w_global)`.
fn penalized(
    spec: &TrainingSpec,
    update: &Update<'_>,
    gradient: &str,
    graph: &mut GraphBuilder,
) -> String {
    let weight = &update.parameter.name;
    let mut gradient = gradient.to_owned();
    let mut pull = |coefficient: f32, towards: &str, graph: &mut GraphBuilder| {
        let coefficient = graph.scalar(coefficient);
        let term = graph.node("Mul", &[&coefficient, towards], &[]);
        gradient = graph.node("Add", &[&gradient, &term], &[]);
    };
    if spec.weight_decay > 0.0 {
        pull(spec.weight_decay, weight, graph);
    }
    if let Some(anchor) = update.anchor {
        let distance = graph.node("Sub", &[weight, anchor], &[]);
        pull(spec.proximal, &distance, graph);
    }
    gradient
}

fn sgd(
    spec: &TrainingSpec,
    momentum: f32,
    update: &Update<'_>,
    gradient: String,
    graph: &mut GraphBuilder,
    state: &mut Vec<StateSlot>,
) -> String {
    let mut direction = gradient;
    if momentum > 0.0 {
        let velocity = graph.fresh("fl.velocity");
        let momentum = graph.scalar(momentum);
        let kept = graph.node("Mul", &[&momentum, &velocity], &[]);
        direction = graph.node("Add", &[&kept, &direction], &[]);
        state.push(StateSlot::zeros(
            &update.parameter.shape,
            velocity,
            direction.clone(),
        ));
    }
    step(spec, update, &direction, graph)
}

/// `w − learning_rate · direction`.
fn step(
    spec: &TrainingSpec,
    update: &Update<'_>,
    direction: &str,
    graph: &mut GraphBuilder,
) -> String {
    let rate = graph.scalar(spec.learning_rate);
    let change = graph.node("Mul", &[&rate, direction], &[]);
    graph.node("Sub", &[&update.parameter.name, &change], &[])
}

struct Moments<'a> {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    rates: &'a [String; 2],
}

/// `1 − βᵗ` at this step; the power is state, from one step to the next.
fn bias_correction(beta: f32, graph: &mut GraphBuilder, state: &mut Vec<StateSlot>) -> String {
    let power = graph.fresh("fl.power");
    let beta = graph.scalar(beta);
    let next = graph.node("Mul", &[&power, &beta], &[]);
    state.push(StateSlot {
        shape: Vec::new(),
        initial: 1.0,
        input: power,
        output: next.clone(),
    });
    let one = graph.scalar(1.0);
    graph.node("Sub", &[&one, &next], &[])
}

fn adam(
    spec: &TrainingSpec,
    moments: &Moments<'_>,
    update: &Update<'_>,
    gradient: &str,
    graph: &mut GraphBuilder,
    state: &mut Vec<StateSlot>,
) -> String {
    let square = graph.node("Mul", &[gradient, gradient], &[]);
    let mut moment = |beta: f32, observed: &str, rate: &str, graph: &mut GraphBuilder| {
        let before = graph.fresh("fl.moment");
        let (beta, rest) = (graph.scalar(beta), graph.scalar(1.0 - beta));
        let kept = graph.node("Mul", &[&beta, &before], &[]);
        let new = graph.node("Mul", &[&rest, observed], &[]);
        let after = graph.node("Add", &[&kept, &new], &[]);
        state.push(StateSlot::zeros(
            &update.parameter.shape,
            before,
            after.clone(),
        ));
        graph.node("Div", &[&after, rate], &[])
    };
    let first = moment(moments.beta1, gradient, &moments.rates[0], graph);
    let second = moment(moments.beta2, &square, &moments.rates[1], graph);
    let root = graph.node("Sqrt", &[&second], &[]);
    let epsilon = graph.scalar(moments.epsilon);
    let divisor = graph.node("Add", &[&root, &epsilon], &[]);
    let direction = graph.node("Div", &[&first, &divisor], &[]);
    step(spec, update, &direction, graph)
}
