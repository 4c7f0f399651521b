//! Parameter updates as graph nodes.

use fl_model::{LocalOptimizer, TrainingSpec};

use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::descent;
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

/// The updates of all parameters.
pub(crate) struct Written {
    /// Their values after the step, in order.
    pub(crate) outputs: Vec<String>,
    /// What the optimiser remembers.
    pub(crate) state: Vec<StateSlot>,
    /// Graph input for the step size, a number.
    pub(crate) learning_rate: String,
}

/// Writes the updates of all parameters; `seed` is the gradient that all theirs come from, `in_float32` where
/// none of them passes through narrower numbers, in which a small learning rate would be lost.
pub(crate) fn write(
    spec: &TrainingSpec,
    updates: &[Update<'_>],
    (seed, in_float32): (&str, bool),
    graph: &mut GraphBuilder,
) -> Result<Written, ModelError> {
    check_training(spec)?;
    let mut state = Vec::new();
    let rate = graph.fresh("fl.learning_rate");
    if in_float32 && is_plain(spec) {
        let moves = updates.iter();
        let moves: Vec<(&str, &Move)> = moves
            .map(|own| (&own.parameter.name[..], own.moves))
            .collect();
        return Ok(Written {
            outputs: descent::write(seed, &rate, &moves, graph),
            state,
            learning_rate: rate,
        });
    }
    let cut = cut_to_norm(spec, updates, graph);
    let step = Step {
        spec,
        rate: &rate,
        cut: cut.as_deref(),
    };
    let outputs = match spec.optimizer {
        LocalOptimizer::Sgd { momentum, nesterov } => updates
            .iter()
            .map(|update| match update.moves {
                Move::To(value) => value.clone(),
                Move::Gradient(gradient) => {
                    let gradient = step.penalized(update, gradient, spec.weight_decay, graph);
                    let momentum = Momentum { momentum, nesterov };
                    step.sgd(&momentum, update, gradient, graph, &mut state)
                }
            })
            .collect(),
        LocalOptimizer::Adam {
            beta1,
            beta2,
            epsilon,
            decoupled,
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
                        let (inside, beside) = match decoupled {
                            false => (spec.weight_decay, 0.0),
                            true => (0.0, spec.weight_decay),
                        };
                        let gradient = step.penalized(update, gradient, inside, graph);
                        let direction = step.adam(&moments, update, &gradient, graph, &mut state);
                        step.take(update, &direction, beside, graph)
                    }
                })
                .collect()
        }
    };
    Ok(Written {
        outputs,
        state,
        learning_rate: rate,
    })
}

/// Refuses hyper-parameters that no step can be taken with.
///
/// # Errors
/// Names the one that is out of its range.
pub fn check_training(spec: &TrainingSpec) -> Result<(), ModelError> {
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
            "gradient_norm_max",
            spec.gradient_norm_max,
            at_least_zero(spec.gradient_norm_max),
            "0 or more",
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
        LocalOptimizer::Sgd { momentum, .. } => {
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
            ..
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

/// Whether a step is the gradient times the learning rate and nothing else.
fn is_plain(spec: &TrainingSpec) -> bool {
    let LocalOptimizer::Sgd { momentum, .. } = spec.optimizer else {
        return false;
    };
    [
        momentum,
        spec.weight_decay,
        spec.proximal,
        spec.gradient_norm_max,
    ] == [0.0; 4]
}

/// What all gradients are multiplied by so that together they have no larger norm than the spec allows,
/// as a float of rank 0: `max / max(‖g‖, max)`.
fn cut_to_norm(
    spec: &TrainingSpec,
    updates: &[Update<'_>],
    graph: &mut GraphBuilder,
) -> Option<String> {
    if spec.gradient_norm_max == 0.0 {
        return None;
    }
    let gradients = updates.iter().filter_map(|update| match update.moves {
        Move::Gradient(gradient) => Some(gradient),
        Move::To(_) => None,
    });
    let squares: Vec<String> = gradients
        .map(|gradient| {
            let square = graph.node("Mul", &[gradient, gradient], &[]);
            // Over all axes, which an empty list of them means.
            graph.node("ReduceSum", &[&square], &[int("keepdims", 0)])
        })
        .collect();
    let names: Vec<&str> = squares.iter().map(String::as_str).collect();
    let total = graph.node("Sum", &names, &[]);
    let norm = graph.node("Sqrt", &[&total], &[]);
    let bound = graph.scalar(spec.gradient_norm_max);
    let larger = graph.node("Max", &[&norm, &bound], &[]);
    Some(graph.node("Div", &[&bound, &larger], &[]))
}

/// What the updates of all parameters have in common.
struct Step<'a> {
    spec: &'a TrainingSpec,
    rate: &'a str,
    cut: Option<&'a str>,
}

struct Momentum {
    momentum: f32,
    nesterov: bool,
}

struct Moments<'a> {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    rates: &'a [String; 2],
}

impl Step<'_> {
    /// The gradient, cut to its norm, with L2 penalty and proximal term: `g + λ·w + µ·(w − w_global)`.
    fn penalized(
        &self,
        update: &Update<'_>,
        gradient: &str,
        weight_decay: f32,
        graph: &mut GraphBuilder,
    ) -> String {
        let weight = &update.parameter.name;
        let mut gradient = match self.cut {
            Some(cut) => graph.node("Mul", &[gradient, cut], &[]),
            None => gradient.to_owned(),
        };
        let mut pull = |coefficient: f32, towards: &str, graph: &mut GraphBuilder| {
            let coefficient = graph.scalar(coefficient);
            let term = graph.node("Mul", &[&coefficient, towards], &[]);
            gradient = graph.node("Add", &[&gradient, &term], &[]);
        };
        if weight_decay > 0.0 {
            pull(weight_decay, weight, graph);
        }
        if let Some(anchor) = update.anchor {
            let distance = graph.node("Sub", &[weight, anchor], &[]);
            pull(self.spec.proximal, &distance, graph);
        }
        gradient
    }

    fn sgd(
        &self,
        momentum: &Momentum,
        update: &Update<'_>,
        gradient: String,
        graph: &mut GraphBuilder,
        state: &mut Vec<StateSlot>,
    ) -> String {
        if momentum.momentum == 0.0 {
            return self.take(update, &gradient, 0.0, graph);
        }
        let before = graph.fresh("fl.velocity");
        let share = graph.scalar(momentum.momentum);
        let kept = graph.node("Mul", &[&share, &before], &[]);
        let velocity = graph.node("Add", &[&kept, &gradient], &[]);
        let direction = match momentum.nesterov {
            false => velocity.clone(),
            true => {
                let ahead = graph.node("Mul", &[&share, &velocity], &[]);
                graph.node("Add", &[&gradient, &ahead], &[])
            }
        };
        state.push(StateSlot::zeros(&update.parameter.shape, before, velocity));
        self.take(update, &direction, 0.0, graph)
    }

    /// `w − learning_rate·(direction + λ·w)`.
    fn take(
        &self,
        update: &Update<'_>,
        direction: &str,
        weight_decay: f32,
        graph: &mut GraphBuilder,
    ) -> String {
        let weight = &update.parameter.name;
        let mut direction = direction.to_owned();
        if weight_decay > 0.0 {
            let coefficient = graph.scalar(weight_decay);
            let term = graph.node("Mul", &[&coefficient, weight], &[]);
            direction = graph.node("Add", &[&direction, &term], &[]);
        }
        let change = graph.node("Mul", &[self.rate, &direction], &[]);
        graph.node("Sub", &[weight, &change], &[])
    }

    /// The direction of a step of Adam.
    fn adam(
        &self,
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
        graph.node("Div", &[&first, &divisor], &[])
    }
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
