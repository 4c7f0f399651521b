//! Low-rank adaptation (Hu et al. 2021, section 4.1): `W' = W + (α/r)·A·B`, of which only A and B are trained.
//!
//! A model with adapters is the user's own file with a note in its metadata, from which whoever reads it
//! makes the same graph; so it is as large as before, and any runtime runs it as it was. Beside each product
//! with an adapted weight then stands that with `A` `[k, r]` and `B` `[r, n]`. A is drawn uniformly within
//! ±1/√k, as the authors' program does, and B begins at 0, so that the model begins unchanged. All other
//! parameters are frozen. The note is the metadata property `tributary.lora`, a JSON object of `rank`,
//! `alpha`, `seed`, and `weights`, a list of names.

use std::collections::BTreeSet;

use fl_model::ModelOptions;
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::attributes::{float_or, int_or};
use crate::error::ModelError;
use crate::forward::{ForwardModel, matching};
use crate::limits::Limits;
use crate::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use crate::shape::Element;
use crate::tensor::{Tensor, encode_f32};

/// Metadata property of a model with adapters.
const PROPERTY: &str = "tributary.lora";

/// Which adapters a model gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Columns of A and rows of B.
    pub rank: u32,
    /// What the adapters' product is multiplied by, times the rank.
    pub alpha: f32,
    /// Draws A.
    pub seed: u64,
    /// Patterns of the weights' names; without any, every weight whose smaller side is at least the rank.
    pub weights: Vec<String>,
}

/// A weight that is adapted.
#[derive(Clone)]
pub(crate) struct Adapted {
    /// Name of the initialiser.
    weight: String,
    /// Whether it is stored as `[n, k]`.
    transposed: bool,
    /// `[k, n]`.
    dims: [u64; 2],
}

/// What makes the adapters of a model.
#[derive(Clone)]
pub(crate) struct Adapters {
    weights: Vec<Adapted>,
    /// α/r.
    scale: f32,
    rank: u64,
    seed: u64,
}

/// A model that was read with its adapters.
#[derive(Clone)]
pub(crate) struct Lowered {
    /// The user's own file.
    base: Vec<u8>,
    pub(crate) adapters: Adapters,
}

/// The model with a note of the adapters.
///
/// # Errors
/// The model cannot be trained, has adapters already, a pattern fits no weight that can be adapted, or the
/// rank is larger than a side of one.
pub fn lora(model: &[u8], limits: &Limits, spec: &Lora) -> Result<Vec<u8>, ModelError> {
    if spec.rank == 0 {
        return fail("the rank is 0: it must be 1 or more");
    }
    check_alpha(spec.alpha)?;
    ForwardModel::parse(model, limits)?;
    let mut proto = ModelProto::decode(model)?;
    if note(&proto).is_some() {
        return fail("the model has adapters already: take the file it was made of");
    }
    let graph = proto.graph.as_ref();
    let able = adaptable(graph.unwrap_or(&GraphProto::default()));
    let names: Vec<&str> = able.iter().map(|own| own.weight.as_str()).collect();
    if names.is_empty() {
        return fail(
            "no MatMul or Gemm has a weight of two dimensions on its right side: there is nothing to adapt",
        );
    }
    let side = |own: &Adapted| own.dims[0].min(own.dims[1]);
    let chosen: Vec<bool> = match spec.weights.is_empty() {
        true => able
            .iter()
            .map(|own| side(own) >= u64::from(spec.rank))
            .collect(),
        false => matching("lora-weights", &spec.weights, &names)?,
    };
    let weights: Vec<&str> = (names.iter().zip(&chosen))
        .filter_map(|(name, chosen)| chosen.then_some(*name))
        .collect();
    if weights.is_empty() {
        let largest = able.iter().map(side).max().unwrap_or(0);
        return fail(&format!(
            "the rank {} is too large: it can be at most {largest}",
            spec.rank
        ));
    }
    let value = json!({
        "rank": spec.rank, "alpha": spec.alpha, "seed": spec.seed, "weights": weights,
    });
    proto.metadata_props.push(StringStringEntryProto {
        key: Some(PROPERTY.to_owned()),
        value: Some(value.to_string()),
    });
    let bytes = proto.encode_to_vec();
    ForwardModel::parse(&bytes, limits)?;
    Ok(bytes)
}

/// Writes the adapters that a model's note asks for into its graph, and takes the note away.
pub(crate) fn expand(
    proto: &mut ModelProto,
    limits: &Limits,
) -> Result<Option<Lowered>, ModelError> {
    let Some(text) = note(proto) else {
        return Ok(None);
    };
    let adapters = read(text, proto.graph.as_ref(), limits)?;
    proto.metadata_props.retain(|own| own.key() != PROPERTY);
    let base = proto.encode_to_vec();
    if let Some(graph) = &mut proto.graph {
        let mut random = ChaCha8Rng::seed_from_u64(adapters.seed);
        for own in &adapters.weights {
            adapters.write(own, graph, &mut random);
        }
    }
    Ok(Some(Lowered { base, adapters }))
}

fn note(proto: &ModelProto) -> Option<&str> {
    let own = proto
        .metadata_props
        .iter()
        .find(|own| own.key() == PROPERTY);
    own.map(|own| own.value())
}

fn fail<T>(reason: &str) -> Result<T, ModelError> {
    Err(ModelError::Lora(reason.to_owned()))
}

fn check_alpha(alpha: f32) -> Result<(), ModelError> {
    match alpha.is_finite() && alpha > 0.0 {
        true => Ok(()),
        false => fail(&format!("alpha is {alpha}: it must be above 0")),
    }
}

/// Reads the note, and finds the weights that it names.
fn read(text: &str, graph: Option<&GraphProto>, limits: &Limits) -> Result<Adapters, ModelError> {
    let damaged = || {
        ModelError::Lora(format!(
            "the metadata {PROPERTY} is damaged: import the model again"
        ))
    };
    let value: Value = serde_json::from_str(text).map_err(|_| damaged())?;
    let rank = value["rank"].as_u64().ok_or_else(damaged)?;
    let alpha = value["alpha"].as_f64().ok_or_else(damaged)? as f32;
    let seed = value["seed"].as_u64().ok_or_else(damaged)?;
    let names = value["weights"].as_array().ok_or_else(damaged)?;
    check_alpha(alpha)?;
    let graph = graph.ok_or_else(damaged)?;
    let mut able = adaptable(graph);
    let mut weights: Vec<Adapted> = Vec::new();
    for name in names {
        let name = name.as_str().ok_or_else(damaged)?;
        let at = able.iter().position(|own| own.weight == name);
        let own = able.swap_remove(at.ok_or_else(|| {
            ModelError::Lora(format!(
                "`{name}` cannot be adapted: it is not, everywhere it is used, the right side of a MatMul or Gemm"
            ))
        })?);
        let side = own.dims[0].min(own.dims[1]);
        if !(1..=side).contains(&rank) {
            return fail(&format!(
                "the rank is {rank}: for `{name}` it can be from 1 to {side}; take another, or other weights"
            ));
        }
        // Its sides are what it holds, and no more than is allowed.
        let mut tensors = graph.initializer.iter().filter(|own| own.name() == name);
        tensors.try_for_each(|own| Tensor::decode(own, limits).map(drop))?;
        weights.push(own);
    }
    Ok(Adapters {
        weights,
        scale: alpha / rank as f32,
        rank,
        seed,
    })
}

/// The initialisers of two dimensions that are the right side of a product wherever they are used, each
/// time the same way round.
fn adaptable(graph: &GraphProto) -> Vec<Adapted> {
    let of = |tensor: &TensorProto| {
        let [rows, columns] = tensor.dims[..] else {
            return None;
        };
        if tensor.data_type() != Element::F32.to_proto() {
            return None;
        }
        let [rows, columns] = [u64::try_from(rows).ok()?, u64::try_from(columns).ok()?];
        let name = tensor.name();
        let mut uses = graph.node.iter().filter(|node| mentions(node, name));
        let transposed = is_transposed(uses.next()?, name)?;
        if uses.any(|node| is_transposed(node, name) != Some(transposed))
            || graph.output.iter().any(|output| output.name() == name)
        {
            return None;
        }
        Some(Adapted {
            weight: name.to_owned(),
            transposed,
            dims: if transposed {
                [columns, rows]
            } else {
                [rows, columns]
            },
        })
    };
    graph.initializer.iter().filter_map(of).collect()
}

/// Whether a node, or one in a loop within it, reads the value.
fn mentions(node: &NodeProto, name: &str) -> bool {
    let bodies = node.attribute.iter().filter_map(|own| own.g.as_ref());
    let mut inner = bodies.flat_map(|body| &body.node);
    node.input.iter().any(|input| input == name) || inner.any(|node| mentions(node, name))
}

/// Whether the node's product takes the weight on its right side as `[n, k]`; none where it does not take it
/// there, or in another place too.
fn is_transposed(node: &NodeProto, name: &str) -> Option<bool> {
    let on_right = node.input.get(1).is_some_and(|right| right == name);
    let uses = node.input.iter().filter(|input| *input == name).count();
    let transposed = match node.op_type() {
        "MatMul" => false,
        "Gemm" if int_or(node, "transA", 0) == 0 => int_or(node, "transB", 0) != 0,
        _ => return None,
    };
    (on_right && uses == 1).then_some(transposed)
}

impl Adapted {
    /// Name of A (0) or B (1).
    fn names(&self) -> [String; 2] {
        ["A", "B"].map(|which| format!("{}.lora_{which}", self.weight))
    }
}

impl Adapters {
    /// Names of all that is trained.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.weights.iter().flat_map(Adapted::names).collect()
    }

    /// Adds A and B of one weight, and what they make of each product with it.
    fn write(&self, own: &Adapted, graph: &mut GraphProto, random: &mut ChaCha8Rng) {
        let [inner, outer] = own.dims;
        let names = own.names();
        let bound = 1.0 / (inner as f32).sqrt();
        let drawn: Vec<f32> = (0..inner * self.rank)
            .map(|_| bound * ((random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0))
            .collect();
        let zeros = vec![0.0; (self.rank * outer) as usize];
        graph.initializer.extend([
            encode_f32(&names[0], &[inner, self.rank], &drawn),
            encode_f32(&names[1], &[self.rank, outer], &zeros),
        ]);
        let nodes = std::mem::take(&mut graph.node);
        for mut node in nodes {
            let adapted = is_transposed(&node, &own.weight).is_some();
            if !adapted || node.output.is_empty() {
                graph.node.push(node);
                continue;
            }
            // So that the weight is moved by what stands above, whatever a Gemm multiplies it by.
            let gemm = match node.op_type() {
                "Gemm" => float_or(&node, "alpha", 1.0),
                _ => 1.0,
            };
            let output = node.output[0].clone();
            let beside = |what: &str| format!("{output}.lora_{what}");
            let made = |operator: &str, inputs: [&str; 2], to: String| NodeProto {
                name: Some(to.clone()),
                op_type: Some(operator.to_owned()),
                input: inputs.map(str::to_owned).to_vec(),
                output: vec![to],
                ..NodeProto::default()
            };
            let mut change = beside("up");
            let mut added = vec![
                made("MatMul", [&node.input[0], &names[0]], beside("down")),
                made("MatMul", [&beside("down"), &names[1]], change.clone()),
            ];
            let scale = self.scale * gemm;
            if scale != 1.0 {
                let factor = beside("scale");
                graph.initializer.push(encode_f32(&factor, &[], &[scale]));
                added.push(made("Mul", [&change, &factor], beside("scaled")));
                change = beside("scaled");
            }
            added.push(made("Add", [&beside("base"), &change], output.clone()));
            node.output[0] = beside("base");
            graph.node.push(node);
            graph.node.append(&mut added);
        }
    }

    /// The value of a weight with what its adapters have learnt: `W + (α/r)·A·B`, added up in f64.
    fn merged(&self, own: &Adapted, weight: &[f32], [down, up]: [&[f32]; 2]) -> Vec<f32> {
        let [inner, outer] = own.dims.map(|size| size as usize);
        let rank = self.rank as usize;
        let at = |index: usize| {
            let (row, column) = match own.transposed {
                true => (index % inner, index / inner),
                false => (index / outer, index % outer),
            };
            let terms = (0..rank)
                .map(|of| f64::from(down[row * rank + of]) * f64::from(up[of * outer + column]));
            f64::from(self.scale) * terms.sum::<f64>()
        };
        let moved = weight.iter().enumerate();
        moved
            .map(|(index, value)| (f64::from(*value) + at(index)) as f32)
            .collect()
    }
}

/// A model and all of its parameters.
pub(crate) type Merged = (ForwardModel, Vec<Vec<f32>>);

impl ForwardModel {
    /// The user's own model as it was before it had adapters, and all of its parameters with what the
    /// adapters have learnt; none where there are none. What is not given is as the file has it.
    ///
    /// # Errors
    /// The model cannot be read again.
    pub(crate) fn merged(&self, parameters: &[Vec<f32>]) -> Result<Option<Merged>, ModelError> {
        let Some(Lowered { base, adapters }) = &self.lora else {
            return Ok(None);
        };
        let limits = Limits::default();
        let options = ModelOptions {
            output: Some(self.graph.values[self.graph.output()].name.clone()),
            ..ModelOptions::PLAIN
        };
        let base = ForwardModel::parse_with(base, &limits, &options)?;
        let mut values: Vec<Vec<f32>> = base
            .parameters
            .iter()
            .map(|own| own.initial.clone())
            .collect();
        let learnt = |name: &str| {
            let at = self.parameters.iter().position(|own| own.name == name)?;
            let given = parameters.get(at).or(Some(&self.parameters[at].initial));
            given.map(Vec::as_slice)
        };
        for own in &adapters.weights {
            let [down, up] = own.names();
            let at = base
                .parameters
                .iter()
                .position(|base| base.name == own.weight);
            if let (Some(at), Some(down), Some(up)) = (at, learnt(&down), learnt(&up)) {
                values[at] = adapters.merged(own, &values[at], [down, up]);
            }
        }
        Ok(Some((base, values)))
    }

    /// Whether what is trained are adapters.
    pub fn has_adapters(&self) -> bool {
        self.lora.is_some()
    }
}
