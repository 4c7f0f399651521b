//! Low-rank adaptation (Hu et al. 2021, section 4.1): `W' = W + (α/r)·A·B`, of which only A and B are trained.
//!
//! A model with adapters is the user's own file with a note in its metadata, from which whoever reads it
//! makes the same graph; so it is as large as before, and any runtime runs it as it was. Beside each product
//! with an adapted weight then stands that with `A` `[k, r]` and `B` `[r, n]`. A is drawn uniformly within
//! ±1/√k, as the authors' program does, and B begins at 0, so that the model begins unchanged. All other
//! parameters are frozen. The note is the metadata property `tributary.lora`, a JSON object of `rank`,
//! `alpha`, `seed`, and `weights`, a list of names.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::ModelOptions;
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::attributes::{float_or, int_or};
use crate::error::ModelError;
use crate::forward::{ForwardModel, Parameter, check_bounds, matching};
use crate::limits::Limits;
use crate::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use crate::shape::Element;
use crate::tensor::{Data, Tensor, encode_f32};

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
    /// Patterns of the weights' names; without any, every weight `[k, n]` that has more numbers than its
    /// adapters, `rank·(k + n)`.
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
    check_scale(spec.alpha, u64::from(spec.rank))?;
    ForwardModel::parse(model, limits)?;
    let mut proto = ModelProto::decode(model)?;
    if note(&proto).is_some() {
        return fail("the model has adapters already: take the file it was made of");
    }
    let graph = proto.graph.as_ref();
    let able = adaptable(graph.unwrap_or(&GraphProto::default()));
    let weights = chosen(spec, &able)?;
    let value = json!({
        "rank": spec.rank, "alpha": spec.alpha, "seed": spec.seed, "weights": weights,
    });
    proto.metadata_props.push(StringStringEntryProto {
        key: Some(PROPERTY.to_owned()),
        value: Some(value.to_string()),
    });
    let bytes = proto.encode_to_vec();
    // What will be learnt can be exported.
    ForwardModel::parse(&bytes, limits)?.merged(&[])?;
    Ok(bytes)
}

/// The weights that are to be adapted, of those that can be.
fn chosen(spec: &Lora, able: &[Adapted]) -> Result<Vec<String>, ModelError> {
    if able.is_empty() {
        return fail(
            "no MatMul or Gemm has a weight of two dimensions on its right side: there is nothing to adapt",
        );
    }
    let chosen: Vec<bool> = match spec.weights.is_empty() {
        true => {
            let fits = |own: &Adapted| u64::from(spec.rank) <= own.worthwhile_max();
            able.iter().map(fits).collect()
        }
        false => {
            let names: Vec<&str> = able.iter().map(|own| own.weight.as_str()).collect();
            matching("lora-weights", &spec.weights, &names)?
        }
    };
    let weights = (able.iter().zip(chosen)).filter_map(|(own, chosen)| chosen.then_some(own));
    let weights: Vec<String> = weights.map(|own| own.weight.clone()).collect();
    if weights.is_empty() {
        let most = |of: fn(&Adapted) -> u64| able.iter().map(of).max().unwrap_or(0);
        return fail(&format!(
            "the rank {} is too large: it can be at most {}, and unless weights are named at most {}, so that \
             adapters have fewer numbers than their weights",
            spec.rank,
            most(Adapted::rank_max),
            most(Adapted::worthwhile_max),
        ));
    }
    Ok(weights)
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
        adapters.write(graph)?;
        // What is written is several times as large as the file.
        check_bounds(graph, limits).map_err(|error| match error {
            ModelError::Graph(reason) => ModelError::Lora(format!(
                "with adapters the graph {reason}; adapt fewer weights"
            )),
            other => other,
        })?;
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

/// What the adapters' product is multiplied by: α/r.
fn check_scale(alpha: f32, rank: u64) -> Result<f32, ModelError> {
    let scale = alpha / rank as f32;
    match alpha.is_finite() && scale.is_normal() && scale > 0.0 {
        true => Ok(scale),
        false => fail(&format!(
            "alpha is {alpha}: it must be above 0, and divided by the rank neither vanish nor overflow"
        )),
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
    let graph = graph.ok_or_else(damaged)?;
    let able = adaptable(graph).into_iter();
    let mut able: BTreeMap<String, Adapted> = able.map(|own| (own.weight.clone(), own)).collect();
    let mut weights: Vec<Adapted> = Vec::new();
    for name in names {
        let name = name.as_str().ok_or_else(damaged)?;
        let own = able.remove(name).ok_or_else(|| {
            ModelError::Lora(format!(
                "`{name}` cannot be adapted: it is not, everywhere it is used, the right side of a MatMul or Gemm"
            ))
        })?;
        let side = own.rank_max();
        if !(1..=side).contains(&rank) {
            return fail(&format!(
                "the rank is {rank}: for `{name}` it can be from 1 to {side}; take another, or other weights"
            ));
        }
        weights.push(own);
    }
    let scale = check_scale(alpha, rank)?;
    // Their sides are what they hold, and no more than is allowed.
    let adapted: BTreeSet<&str> = weights.iter().map(|own| own.weight.as_str()).collect();
    for tensor in &graph.initializer {
        if adapted.contains(tensor.name()) {
            Tensor::decode(tensor, limits)?;
        }
    }
    Ok(Adapters {
        weights,
        scale,
        rank,
        seed,
    })
}

/// The initialisers of two dimensions that are the right side of a product wherever they are used, each
/// time the same way round.
fn adaptable(graph: &GraphProto) -> Vec<Adapted> {
    let mut uses = Uses::new();
    let nodes = graph.node.iter();
    nodes.for_each(|node| find_uses(node, false, &mut uses));
    let outputs = graph.output.iter().map(|output| output.name());
    outputs.for_each(|name| add_use(&mut uses, name, None));
    let of = |tensor: &TensorProto| {
        let [rows, columns] = tensor.dims[..] else {
            return None;
        };
        if tensor.data_type() != Element::F32.to_proto() {
            return None;
        }
        let [rows, columns] = [u64::try_from(rows).ok()?, u64::try_from(columns).ok()?];
        let transposed = (*uses.get(tensor.name())?)?;
        Some(Adapted {
            weight: tensor.name().to_owned(),
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

/// For each value that is read, whether products take it on their right side as `[n, k]`; none where it is
/// also read otherwise.
type Uses<'a> = BTreeMap<&'a str, Option<bool>>;

fn add_use<'a>(uses: &mut Uses<'a>, name: &'a str, transposed: Option<bool>) {
    let known = uses.entry(name).or_insert(transposed);
    if *known != transposed {
        *known = None;
    }
}

/// Adds what a node reads, and the nodes of loops within it, of which no product is adapted.
fn find_uses<'a>(node: &'a NodeProto, is_inner: bool, uses: &mut Uses<'a>) {
    let transposed = is_transposed(node).filter(|_| !is_inner);
    for (index, name) in node.input.iter().enumerate() {
        add_use(uses, name, transposed.filter(|_| index == 1));
    }
    let bodies = node.attribute.iter().filter_map(|own| own.g.as_ref());
    let inner = bodies.flat_map(|body| &body.node);
    inner.for_each(|node| find_uses(node, true, uses));
}

/// Whether the node's product takes its right side as `[n, k]`; none where it is no product.
fn is_transposed(node: &NodeProto) -> Option<bool> {
    match node.op_type() {
        "MatMul" => Some(false),
        "Gemm" if int_or(node, "transA", 0) == 0 => Some(int_or(node, "transB", 0) != 0),
        _ => None,
    }
}

impl Adapted {
    /// Name of A (0) or B (1).
    fn names(&self) -> [String; 2] {
        ["A", "B"].map(|which| format!("{}.lora_{which}", self.weight))
    }

    /// The largest rank: beyond it, the product of A and B can be no other.
    fn rank_max(&self) -> u64 {
        self.dims[0].min(self.dims[1])
    }

    /// The largest rank at which A and B have fewer numbers than the weight.
    fn worthwhile_max(&self) -> u64 {
        let [inner, outer] = self.dims.map(u128::from);
        let largest = (inner * outer).saturating_sub(1) / (inner + outer).max(1);
        // It is below the smaller side.
        largest as u64
    }
}

impl Adapters {
    /// Names of all that is trained.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.weights.iter().flat_map(Adapted::names).collect()
    }

    /// Adds A and B of all weights, and what they make of each product with one of these.
    fn write(&self, graph: &mut GraphProto) -> Result<(), ModelError> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut adapted: BTreeMap<&str, [String; 2]> = BTreeMap::new();
        for own in &self.weights {
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
            adapted.insert(&own.weight, names);
        }
        for node in std::mem::take(&mut graph.node) {
            let right = node.input.get(1).and_then(|name| adapted.get(&name[..]));
            match right {
                Some(names) if !node.output.is_empty() => self.add_to(node, names, graph)?,
                _ => graph.node.push(node),
            }
        }
        Ok(())
    }

    /// Writes a product with an adapted weight.
    fn add_to(
        &self,
        mut node: NodeProto,
        [down, up]: &[String; 2],
        graph: &mut GraphProto,
    ) -> Result<(), ModelError> {
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
            made("MatMul", [&node.input[0], down], beside("down")),
            made("MatMul", [&beside("down"), up], change.clone()),
        ];
        let scale = self.scale * gemm;
        // A Gemm may leave its product out, with what is learnt beside it.
        if !scale.is_normal() && gemm != 0.0 {
            let excess = if scale.abs() < 1.0 { "small" } else { "large" };
            return fail(&format!(
                "alpha is too {excess} beside the alpha {gemm} of the Gemm that makes `{output}`"
            ));
        }
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
        Ok(())
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
    /// The model cannot be read again, or an adapted weight is no parameter in it.
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
        let own = places(&self.parameters);
        let of_base = places(&base.parameters);
        let value = |name: &str| match own.get(name) {
            Some(&at) => Some(parameters.get(at).unwrap_or(&self.parameters[at].initial)),
            // One that is frozen stays as the file has it.
            None => self.initial(name),
        };
        for adapted in &adapters.weights {
            let [down, up] = adapted.names();
            // Behind another output than the loss, neither is trained.
            if !own.contains_key(&down[..]) && !own.contains_key(&up[..]) {
                continue;
            }
            let unfit = || {
                ModelError::Parameter {
                name: adapted.weight.clone(),
                reason: "has an adapter, but cannot itself be trained, so that what is learnt cannot be added \
                         to it; adapt other weights"
                    .to_owned(),
            }
            };
            let at = *of_base.get(&adapted.weight[..]).ok_or_else(unfit)?;
            if let (Some(down), Some(up)) = (value(&down), value(&up)) {
                values[at] = adapters.merged(adapted, &values[at], [down, up]);
            }
        }
        Ok(Some((base, values)))
    }

    /// The numbers of an initialiser in the file.
    fn initial(&self, name: &str) -> Option<&Vec<f32>> {
        let constant = self.graph.values[self.graph.find(name)?]
            .constant
            .as_ref()?;
        match &constant.data {
            Data::F32(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// Whether what is trained are adapters.
    pub fn has_adapters(&self) -> bool {
        self.lora.is_some()
    }
}

/// Where each parameter stands.
fn places(parameters: &[Parameter]) -> BTreeMap<&str, usize> {
    let places = parameters.iter().enumerate();
    places.map(|(at, own)| (own.name.as_str(), at)).collect()
}
