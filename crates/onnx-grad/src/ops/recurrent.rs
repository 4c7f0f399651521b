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
use super::scan::{Turn, scan};
use crate::attributes::{find, int, int_or, text_or};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::shape::{Dim, Element, Shape, ValueType, as_reshape, show};

/// Longest sequence. Longer ones do not learn, and each step's gates take memory.
const STEPS_MAX: u64 = 16_384;

/// Positions of the inputs.
const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const LENGTHS: usize = 4;
pub(super) const INITIAL_H: usize = 5;
pub(super) const INITIAL_C: usize = 6;
const PEEPHOLES: usize = 7;

/// What the hidden states of all steps are saved as, where the model does not name them.
const STATES: &str = "hidden states";

/// Sizes of a recurrent node.
pub(super) struct Layer {
    steps: i64,
    batch: Dim,
    input: i64,
    pub(super) hidden: i64,
    gates: i64,
    /// For each direction, whether it is the reverse.
    reverse: Vec<bool>,
}

impl Layer {
    /// Reads the sizes of a node with so many gates and states.
    pub(super) fn new(site: &Site<'_>, gates: u64, states: usize) -> Result<Self, String> {
        check_attributes(site)?;
        let reverse = match text_or(site.proto, "direction", "forward") {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => return Err(format!("its direction `{other}` is unknown")),
        };
        let (steps, batch, input) = sequence(site.float(X)?)?;
        let r = site.float(R)?;
        let hidden = match r.shape()[..] {
            [_, _, Dim::Fixed(hidden)] => hidden,
            _ => return Err(format!("its R has the shape {}", show(r.shape()))),
        };
        let rows = gates
            .checked_mul(hidden)
            .filter(|rows| *rows <= i64::MAX as u64 / 2)
            .ok_or_else(|| format!("its hidden size {hidden} is too large"))?;
        if int_or(site.proto, "hidden_size", hidden as i64) != hidden as i64 {
            return Err(format!("its hidden_size differs from R's {hidden}"));
        }
        let layer = Self {
            steps: steps as i64,
            batch,
            input: input as i64,
            hidden: hidden as i64,
            gates: gates as i64,
            reverse,
        };
        layer.check_inputs(site, rows, states)?;
        Ok(layer)
    }

    fn check_inputs(&self, site: &Site<'_>, rows: u64, states: usize) -> Result<(), String> {
        let [directions, input, hidden] =
            [self.directions(), self.input, self.hidden].map(|size| Dim::Fixed(size as u64));
        expect(site.float(W)?, "W", &[directions, Dim::Fixed(rows), input])?;
        expect(site.float(R)?, "R", &[directions, Dim::Fixed(rows), hidden])?;
        if site.optional(B).is_some() {
            expect(site.float(B)?, "B", &[directions, Dim::Fixed(2 * rows)])?;
        }
        if let Some(lengths) = site.optional(LENGTHS) {
            expect(lengths, "sequence_lens", &[self.batch])?;
            if lengths.value_type.element != Element::I32 {
                return Err("its sequence_lens must be int32".to_owned());
            }
        }
        let names = [(INITIAL_H, "initial_h"), (INITIAL_C, "initial_c")];
        for (index, name) in names.into_iter().take(states) {
            if site.optional(index).is_some() {
                expect(site.float(index)?, name, &[directions, self.batch, hidden])?;
            }
        }
        if site.optional(PEEPHOLES).is_some() {
            return Err("its peepholes P are not supported".to_owned());
        }
        site.at_most_inputs(if states == 2 {
            PEEPHOLES + 1
        } else {
            INITIAL_C
        })
    }

    /// Types of Y, and of the last states.
    pub(super) fn outputs(&self, states: usize) -> Vec<ValueType> {
        let [steps, directions, hidden] =
            [self.steps, self.directions(), self.hidden].map(|size| Dim::Fixed(size as u64));
        let last: Shape = vec![directions, self.batch, hidden];
        let mut types = vec![ValueType::f32([&[steps], &last[..]].concat())];
        types.extend(std::iter::repeat_n(ValueType::f32(last), states));
        types
    }

    fn directions(&self) -> i64 {
        self.reverse.len() as i64
    }
}

/// Refuses what changes the formulas.
fn check_attributes(site: &Site<'_>) -> Result<(), String> {
    if int_or(site.proto, "layout", 0) != 0 {
        return Err(
            "its layout is 1, which ONNX Runtime does not run; export it with layout 0 and \
             Transpose nodes around it"
                .to_owned(),
        );
    }
    for name in ["clip", "activation_alpha", "activation_beta"] {
        if find(site.proto, name).is_some() {
            return Err(format!(
                "its attribute `{name}` is not supported; leave it out"
            ));
        }
    }
    if int_or(site.proto, "input_forget", 0) != 0 {
        return Err("its attribute `input_forget` is not supported; leave it out".to_owned());
    }
    Ok(())
}

/// Names of the activations of all directions, one after the other; `defaults` are those of one.
pub(super) fn activations(
    site: &Site<'_>,
    layer: &Layer,
    defaults: &[&str],
) -> Result<Vec<String>, String> {
    let expected = defaults.repeat(layer.reverse.len());
    let Some(given) = find(site.proto, "activations") else {
        return Ok(expected.into_iter().map(str::to_owned).collect());
    };
    let names = given.strings.iter();
    let names: Vec<String> = names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    if names.len() == expected.len() {
        return Ok(names);
    }
    Err(format!(
        "it has {} activations, {} are expected",
        names.len(),
        expected.len()
    ))
}

/// Refuses all activations but the operator's own.
pub(super) fn default_activations(
    site: &Site<'_>,
    layer: &Layer,
    defaults: &[&str],
) -> Result<(), String> {
    let given = activations(site, layer, defaults)?;
    let expected = defaults.iter().cycle();
    match given
        .iter()
        .zip(expected)
        .find(|(a, b)| !a.eq_ignore_ascii_case(b))
    {
        Some((given, expected)) => Err(format!(
            "its activation `{given}` cannot be trained, only {expected} in its place"
        )),
        None => Ok(()),
    }
}

/// Whether a gradient flows to the input.
pub(super) fn differentiable(input: usize) -> bool {
    input != LENGTHS
}

/// Steps, batch and width of X.
fn sequence(x: &Value) -> Result<(u64, Dim, u64), String> {
    let shape = x.shape();
    match shape[..] {
        [Dim::Fixed(steps), _, _] if steps > STEPS_MAX => Err(format!(
            "its sequence has {steps} steps, at most {STEPS_MAX} can be trained; cut it into shorter ones"
        )),
        [Dim::Fixed(steps), batch, Dim::Fixed(input)] => Ok((steps, batch, input)),
        [Dim::Batch(_), _, _] => Err(format!(
            "its steps are the batch of {}, which mixes examples; transpose it so that the batch is at axis 1",
            show(shape)
        )),
        _ => Err(format!(
            "its X has the shape {}, [steps, N, width] is expected",
            show(shape)
        )),
    }
}

fn expect(value: &Value, what: &str, shape: &[Dim]) -> Result<(), String> {
    if value.shape() == shape {
        return Ok(());
    }
    Err(format!(
        "its {what} `{}` has the shape {}, {} is expected, where N is the batch and must stay open",
        value.name,
        show(value.shape()),
        show(shape)
    ))
}

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

/// What is known of all steps of one direction when the way back begins.
pub(super) struct Pass<'a> {
    site: &'a Site<'a>,
    pub(super) layer: &'a Layer,
    /// Which direction it is.
    pub(super) direction: usize,
    reverse: bool,
    /// Weights of the direction: `[G·H, I]` and `[G·H, H]`.
    w: String,
    pub(super) r: String,
    /// Biases beside them, `[G·H]` each.
    pub(super) biases: Option<[String; 2]>,
    /// X, `[T·N, I]`.
    x: String,
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
    fn new(whole: &Whole<'a>, direction: usize, graph: &mut GraphBuilder) -> Result<Self, String> {
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
            Ok(whole.part(value, 0, direction, shape, graph))
        };
        let y = whole.part(&whole.y, 1, direction, &[steps, -1, hidden], graph);
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
            pass.biases = split(&both, 0, &[rows, rows], graph).try_into().ok();
        }
        pass.before = pass.states_before(y, graph);
        pass.take_upstream(whole, graph);
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

    fn take_upstream(&mut self, whole: &Whole<'a>, graph: &mut GraphBuilder) {
        let Layer { steps, hidden, .. } = *self.layer;
        let of_last = self.final_gradient(1, graph);
        let Some(Some(upstream)) = self.upstream.first() else {
            self.last = of_last.unwrap_or_else(|| self.zeros.clone());
            return;
        };
        let mut each = whole.part(upstream, 1, self.direction, &[steps, -1, hidden], graph);
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
                concat(&[&first, &others], 0, graph)
            }
            true => {
                let others = graph.slice(each, &[0], &[1], &[steps]);
                concat(&[&others, &first], 0, graph)
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
        body: impl FnOnce(&mut GraphBuilder, &str, &[String]) -> String,
        graph: &mut GraphBuilder,
    ) -> String {
        let values: Vec<String> = values
            .iter()
            .map(|value| self.by_step(value, 1, graph))
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let turns = scan(
            graph,
            self.reverse,
            [initial],
            &values,
            |graph, [state], values| {
                let next = body(graph, state, values);
                Turn {
                    states: [next.clone()],
                    kept: [next],
                }
            },
        );
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
        body: impl FnOnce(&mut GraphBuilder, &Step<'_, STATES>) -> Turn<STATES, KEPT>,
        graph: &mut GraphBuilder,
    ) -> Turn<STATES, KEPT> {
        let loops = values
            .iter()
            .map(|(value, gates)| self.by_step(value, *gates, graph));
        let mut sequences: Vec<String> = loops.collect();
        sequences.extend(self.arriving.clone());
        sequences.extend(self.within.clone());
        let sequences: Vec<&str> = sequences.iter().map(String::as_str).collect();
        let turns = scan(
            graph,
            !self.reverse,
            initial,
            &sequences,
            |graph, states, elements| {
                let (own, more) = elements.split_at(values.len());
                let mut more = more.iter().map(String::as_str);
                let step = Step {
                    states,
                    values: own,
                    arriving: self.arriving.as_ref().and_then(|_| more.next()),
                    within: self.within.as_ref().and_then(|_| more.next()),
                };
                body(graph, &step)
            },
        );
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
struct Whole<'a> {
    site: &'a Site<'a>,
    layer: &'a Layer,
    upstream: &'a [Option<String>],
    x: String,
    y: String,
    within: Option<String>,
    zeros: String,
}

impl Whole<'_> {
    fn part(
        &self,
        value: &str,
        axis: i64,
        direction: usize,
        shape: &[i64],
        graph: &mut GraphBuilder,
    ) -> String {
        part(self.layer, value, axis, direction, shape, graph)
    }
}

/// The part of one direction, in another shape.
fn part(
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
    let whole = |(input, parts): (usize, Vec<String>)| {
        let shape = site.optional(input)?.shape();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let joined = match parts[..] {
            [] => return None,
            [only] => only.to_owned(),
            _ => concat(&parts, 0, graph),
        };
        Some(graph.reshape(&joined, &as_reshape(shape)))
    };
    Ok(parts.into_iter().enumerate().map(whole).collect())
}

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

/// Cuts a value along an axis into parts of these sizes.
pub(super) fn split(
    value: &str,
    axis: i64,
    sizes: &[i64],
    graph: &mut GraphBuilder,
) -> Vec<String> {
    let count = sizes.len();
    let sizes = graph.integers(sizes);
    graph.node_outputs("Split", &[value, &sizes], &[int("axis", axis)], count)
}

/// Joins values along an axis.
pub(super) fn concat(values: &[&str], axis: i64, graph: &mut GraphBuilder) -> String {
    graph.node("Concat", values, &[int("axis", axis)])
}

/// `a − b·c`.
pub(super) fn minus_product(a: &str, b: &str, c: &str, graph: &mut GraphBuilder) -> String {
    let product = graph.node("Mul", &[b, c], &[]);
    graph.node("Sub", &[a, &product], &[])
}
