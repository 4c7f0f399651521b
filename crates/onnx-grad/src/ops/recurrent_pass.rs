//! The way back through the steps of one direction: what the loop is given, and the loop.

use super::recurrent::{Whole, part};
use super::recurrent_layer::{B, INITIAL_H, Layer, R, W};
use super::scan::{Over, Turn, scan};
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Site;

/// What is known of all steps of one direction when the way back begins.
pub(super) struct Pass<'a> {
    site: &'a Site<'a>,
    pub(super) layer: &'a Layer,
    /// Which direction it is.
    pub(super) direction: usize,
    reverse: bool,
    /// Weights of the direction: `[G·H, I]` and `[G·H, H]`.
    pub(super) w: String,
    pub(super) r: String,
    /// Biases beside them, `[G·H]` each.
    pub(super) biases: Option<[String; 2]>,
    /// X, `[T·N, I]`.
    pub(super) x: String,
    /// Hidden states after each step and before it, `[T·N, H]`.
    pub(super) after: String,
    pub(super) before: String,
    /// Which steps are within the example's sequence, `[T, N, 1]`.
    within: Option<String>,
    /// Zeros, `[N, H]`.
    pub(super) zeros: String,
    /// Gradients of the last step's hidden state, `[N, H]`, and of Y at the step before each, `[T, N, H]`.
    pub(super) last: String,
    arriving: Option<String>,
    upstream: &'a [Option<String>],
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        whole: &Whole<'a>,
        direction: usize,
        graph: &mut GraphBuilder,
    ) -> Result<Self, String> {
        let Whole {
            site,
            layer,
            upstream,
            ..
        } = *whole;
        let Layer {
            steps,
            input,
            hidden,
            ..
        } = *layer;
        let rows = layer.gates * hidden;
        let own = |index: usize, shape: &[i64], graph: &mut GraphBuilder| -> Result<_, String> {
            let value = &site.input(index)?.name;
            Ok(part(layer, value, 0, direction, shape, graph))
        };
        let y = part(layer, &whole.y, 1, direction, &[steps, -1, hidden], graph);
        let mut pass = Self {
            site,
            layer,
            direction,
            reverse: layer.reverse.get(direction).copied().unwrap_or(false),
            w: own(W, &[rows, input], graph)?,
            r: own(R, &[rows, hidden], graph)?,
            biases: None,
            x: whole.x.clone(),
            after: graph.reshape(&y, &[-1, hidden]),
            before: String::new(),
            within: whole.within.clone(),
            zeros: whole.zeros.clone(),
            last: whole.zeros.clone(),
            arriving: None,
            upstream,
        };
        if site.optional(B).is_some() {
            let both = own(B, &[-1], graph)?;
            pass.biases = graph.split(&both, 0, &[rows, rows]).try_into().ok();
        }
        pass.before = pass.states_before(y, graph);
        pass.take_upstream(graph);
        Ok(pass)
    }

    /// The hidden states before each step, `[T·N, H]`.
    fn states_before(&self, after: String, graph: &mut GraphBuilder) -> String {
        let initial = self.initial(INITIAL_H, graph);
        let from = match &self.within {
            // Beyond its end a sequence has zeros; in reverse it begins there, in the initial state.
            Some(within) if self.reverse && self.site.optional(INITIAL_H).is_some() => {
                graph.node("Where", &[within, &after, &initial], &[])
            }
            _ => after,
        };
        let before = self.shifted(&from, &initial, graph);
        graph.reshape(&before, &[-1, self.layer.hidden])
    }

    fn take_upstream(&mut self, graph: &mut GraphBuilder) {
        let Layer { steps, hidden, .. } = *self.layer;
        let of_last = self.final_gradient(1, graph);
        let Some(Some(upstream)) = self.upstream.first() else {
            self.last = of_last.unwrap_or_else(|| self.zeros.clone());
            return;
        };
        let mut each = part(
            self.layer,
            upstream,
            1,
            self.direction,
            &[steps, -1, hidden],
            graph,
        );
        if let Some(within) = &self.within {
            let zero = graph.scalar(0.0);
            each = graph.node("Where", &[within, &each, &zero], &[]);
        }
        let last = if self.reverse { 0 } else { steps - 1 };
        let own = graph.slice(&each, &[0], &[last], &[last + 1]);
        let own = graph.reshape(&own, &[-1, hidden]);
        self.last = match of_last {
            Some(of_last) => graph.node("Add", &[&own, &of_last], &[]),
            None => own,
        };
        self.arriving = Some(self.shifted(&each, &self.zeros, graph));
    }

    /// A state before the first step, `[N, H]`; zeros where the model gives none.
    pub(super) fn initial(&self, input: usize, graph: &mut GraphBuilder) -> String {
        match self.site.optional(input) {
            Some(value) => part(
                self.layer,
                &value.name,
                0,
                self.direction,
                &[-1, self.layer.hidden],
                graph,
            ),
            None => self.zeros.clone(),
        }
    }

    /// The gradient of an output that is a last state, `[N, H]`.
    pub(super) fn final_gradient(&self, output: usize, graph: &mut GraphBuilder) -> Option<String> {
        let upstream = self.upstream.get(output).cloned().flatten()?;
        let shape = [-1, self.layer.hidden];
        let own = part(self.layer, &upstream, 0, self.direction, &shape, graph);
        let Some(within) = &self.within else {
            return Some(own);
        };
        // Of an empty sequence the runtime gives zeros, not the initial state.
        let first = graph.slice(within, &[0], &[0], &[1]);
        let any = graph.reshape(&first, &[-1, 1]);
        let zero = graph.scalar(0.0);
        Some(graph.node("Where", &[&any, &own, &zero], &[]))
    }

    /// For each step the value of the step before it, and of the first what is given: `[T, N, H]` and
    /// `[N, H]`.
    pub(super) fn shifted(&self, each: &str, first: &str, graph: &mut GraphBuilder) -> String {
        let Layer { steps, hidden, .. } = *self.layer;
        let first = graph.reshape(first, &[1, -1, hidden]);
        if steps == 1 {
            return first;
        }
        match self.reverse {
            false => {
                let others = graph.slice(each, &[0], &[0], &[steps - 1]);
                graph.concat(&[&first, &others], 0)
            }
            true => {
                let others = graph.slice(each, &[0], &[1], &[steps]);
                graph.concat(&[&others, &first], 0)
            }
        }
    }

    /// What X and a bias add to the gates of all steps, `[T·N, G·H]`.
    pub(super) fn of_input(&self, bias: Option<&str>, graph: &mut GraphBuilder) -> String {
        self.product(&self.x, &self.w, bias, graph)
    }

    /// Values of all steps times rows of weights, and what is added to it.
    pub(super) fn product(
        &self,
        values: &str,
        weights: &str,
        added: Option<&str>,
        graph: &mut GraphBuilder,
    ) -> String {
        let inputs: Vec<&str> = [values, weights].into_iter().chain(added).collect();
        graph.node("Gemm", &inputs, &[int("transB", 1)])
    }

    /// Both biases together, where they are added to the same sum.
    pub(super) fn bias(&self, graph: &mut GraphBuilder) -> Option<String> {
        let [w, r] = self.biases.as_ref()?;
        Some(graph.node("Add", &[w, r], &[]))
    }

    /// The value `[T·N, …]` within sequences, and beyond their ends a number.
    pub(super) fn or_beyond(&self, value: String, beyond: f32, graph: &mut GraphBuilder) -> String {
        let Some(within) = &self.within else {
            return value;
        };
        let rows = graph.reshape(within, &[-1, 1]);
        let beyond = graph.scalar(beyond);
        graph.node("Where", &[&rows, &value, &beyond], &[])
    }

    /// The value as loops cut it: `[T, N, gates·H]`.
    fn by_step(&self, value: &str, gates: i64, graph: &mut GraphBuilder) -> String {
        graph.reshape(value, &[self.layer.steps, -1, gates * self.layer.hidden])
    }

    /// Runs a loop from the first step to the last over values `[T·N, H]`, and gives what it keeps,
    /// `[T, N, H]`.
    pub(super) fn forwards(
        &self,
        initial: &str,
        values: &[&str],
        body: impl Fn(&mut GraphBuilder, &str, &[String]) -> String,
        graph: &mut GraphBuilder,
    ) -> String {
        let values: Vec<String> = values
            .iter()
            .map(|value| self.by_step(value, 1, graph))
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let over = Over {
            steps: self.layer.steps,
            backwards: self.reverse,
            initial: [initial],
            sequences: &values,
        };
        let turns = scan(graph, &over, |graph, [state], values| {
            let next = body(graph, state, values);
            Turn {
                states: [next.clone()],
                kept: [next],
            }
        });
        let [kept] = turns.kept;
        kept
    }

    /// Runs the loop back from the last step to the first over values `[T·N, gates·H]`. The first state
    /// is the gradient of the hidden state after the step, and begins as [`Self::last`]. What it keeps is of so many gates,
    /// and given as `[T·N, gates·H]`.
    pub(super) fn backwards<const STATES: usize, const KEPT: usize>(
        &self,
        initial: [&str; STATES],
        values: &[(&str, i64)],
        kept: [i64; KEPT],
        body: impl Fn(&mut GraphBuilder, &Step<'_, STATES>) -> Turn<STATES, KEPT>,
        graph: &mut GraphBuilder,
    ) -> Turn<STATES, KEPT> {
        let loops = values
            .iter()
            .map(|(value, gates)| self.by_step(value, *gates, graph));
        let mut sequences: Vec<String> = loops.collect();
        sequences.extend(self.arriving.clone());
        sequences.extend(self.within.clone());
        let sequences: Vec<&str> = sequences.iter().map(String::as_str).collect();
        let over = Over {
            steps: self.layer.steps,
            backwards: !self.reverse,
            initial,
            sequences: &sequences,
        };
        let turns = scan(graph, &over, |graph, states, elements| {
            let (own, more) = elements.split_at(values.len());
            let mut more = more.iter().map(String::as_str);
            let step = Step {
                states,
                values: own,
                arriving: self.arriving.as_ref().and_then(|_| more.next()),
                within: self.within.as_ref().and_then(|_| more.next()),
            };
            body(graph, &step)
        });
        let mut widths = kept.into_iter();
        let flat = |value: String| {
            let width = widths.next().unwrap_or(1) * self.layer.hidden;
            graph.reshape(&value, &[-1, width])
        };
        Turn {
            states: turns.states,
            kept: turns.kept.map(flat),
        }
    }
}

/// One turn of the loop back.
pub(super) struct Step<'a, const STATES: usize> {
    /// What goes back from step to step, `[N, H]`: first the gradient of the hidden state after the step.
    pub(super) states: &'a [String; STATES],
    /// This step's part of the values.
    pub(super) values: &'a [String],
    arriving: Option<&'a str>,
    within: Option<&'a str>,
}

impl<const STATES: usize> Step<'_, STATES> {
    /// Gradient of the hidden state before the step: what comes through the gates by R, what Y gets there,
    /// and what the cell itself hands on. Beyond the end of a sequence the state has stayed as it was.
    pub(super) fn before(
        &self,
        gates: &str,
        r: &str,
        own: Option<String>,
        graph: &mut GraphBuilder,
    ) -> String {
        let mut addends: Vec<String> = own.into_iter().collect();
        addends.extend(self.arriving.map(str::to_owned));
        if let (Some(within), Some(gradient)) = (self.within, self.states.first()) {
            let zero = graph.scalar(0.0);
            addends.push(graph.node("Where", &[within, &zero, gradient], &[]));
        }
        let sum = addends
            .into_iter()
            .reduce(|a, b| graph.node("Add", &[&a, &b], &[]));
        let inputs: Vec<&str> = [gates, r].into_iter().chain(sum.as_deref()).collect();
        graph.node("Gemm", &inputs, &[])
    }
}
