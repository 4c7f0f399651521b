//! Sizes of LSTM, GRU and RNN nodes, and what of them is refused.

use crate::attributes::{find, int_or, text_or};
use crate::graph::{Site, Value};
use crate::shape::{Dim, Element, Shape, ValueType, show};

/// Longest sequence. Longer ones do not learn, and each step's gates take memory.
const STEPS_MAX: u64 = 16_384;
/// Most numbers in the gates of all steps of one example; a step keeps several such values.
const GATES_MAX: u64 = 16 << 20;

/// Positions of the inputs.
pub(super) const X: usize = 0;
pub(super) const W: usize = 1;
pub(super) const R: usize = 2;
pub(super) const B: usize = 3;
pub(super) const LENGTHS: usize = 4;
pub(super) const INITIAL_H: usize = 5;
pub(super) const INITIAL_C: usize = 6;
const PEEPHOLES: usize = 7;

/// Sizes of a recurrent node.
pub(super) struct Layer {
    pub(super) steps: i64,
    batch: Dim,
    pub(super) input: i64,
    pub(super) hidden: i64,
    pub(super) gates: i64,
    /// For each direction, whether it is the reverse.
    pub(super) reverse: Vec<bool>,
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
            .filter(|rows| rows.checked_mul(steps).is_some_and(|all| all <= GATES_MAX))
            .ok_or_else(|| {
                format!(
                    "its gates are more than {GATES_MAX} numbers an example, with {steps} steps and a \
                     hidden size of {hidden}; use fewer steps or a smaller state"
                )
            })?;
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

    /// Additions and multiplications of all steps' products, for one example.
    pub(super) fn flops(&self) -> u64 {
        let rows = self.gates.saturating_mul(self.hidden);
        let each = rows.saturating_mul(self.input.saturating_add(self.hidden));
        let all = each
            .saturating_mul(self.steps)
            .saturating_mul(self.directions());
        all.unsigned_abs().saturating_mul(2)
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

    pub(super) fn directions(&self) -> i64 {
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
