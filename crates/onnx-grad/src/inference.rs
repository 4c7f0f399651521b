//! The third stage, for users: their own model with trained parameters, from raw columns or tensors.

use std::collections::BTreeMap;

use fl_model::{
    Feature, FeatureSpec, Inputs, Normalization, TableInputs, TensorInput, Window, WindowLayout,
    statistics_ranges,
};
use prost::Message;

use crate::attributes::ints;
use crate::builder::{GraphBuilder, value_info};
use crate::differentiate::{Purpose, write_node};
use crate::error::ModelError;
use crate::features;
use crate::forward::{ForwardModel, Parameter};
use crate::graph::Value;
use crate::proto::{ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto};
use crate::shape::{Dim, Shape, ValueType, show};
use crate::tensor::encode_f32;
use crate::tensors;

/// Metadata property that lists the raw columns, a JSON array.
const FEATURE_NAMES: &str = "feature_names";

/// Metadata property that says what the windows are, a JSON object.
const WINDOW: &str = "window";

/// First IR version in which initialisers need not be inputs.
const IR_VERSION_MIN: i64 = 4;

/// The model to use outside the federation.
///
/// Input: raw columns `[N, C]` float32, or where a job's examples are windows of T rows `[N, T, C]`, NaN
/// where a value is missing; output: the user's own.
/// Metadata: `feature_names`, a JSON array of the raw columns in order, and for each categorical
/// column `categories.<column>`, a JSON array of the values whose index is the raw value. With windows also
/// `window`, a JSON object of their `length` T and the `layout` in which the model inside takes them; the
/// input is time first in either.
///
/// Of a job of tensors the inputs are the user's own by their names and in their shapes, raw: what scales
/// them is inside. NaN is a missing value in inputs of float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceModel {
    /// The model, protobuf.
    pub bytes: Vec<u8>,
}

impl InferenceModel {
    /// Puts the parameters into the user's model and the preprocessing before it. What adapters have learnt is
    /// added to the weights that they adapt, and nothing else of them is left.
    ///
    /// # Errors
    /// Parameters or features do not fit the model.
    pub fn new(
        model: &ForwardModel,
        parameters: &[Vec<f32>],
        inputs: &Inputs,
        normalization: &Normalization,
    ) -> Result<Self, ModelError> {
        check_parameters(model, parameters)?;
        if let Some((base, values)) = model.merged(parameters)? {
            return Self::new(&base, &values, inputs, normalization);
        }
        match inputs {
            Inputs::Table(table) => Self::of_table(model, parameters, table, normalization),
            Inputs::Tensors(own) => Self::of_tensors(model, parameters, own, normalization),
        }
    }

    fn of_table(
        model: &ForwardModel,
        parameters: &[Vec<f32>],
        table: &TableInputs,
        normalization: &Normalization,
    ) -> Result<Self, ModelError> {
        let (features, window) = (&table.features, table.window.as_ref());
        let [own_input] = model.graph.inputs[..] else {
            return Err(ModelError::Features(format!(
                "they are one table of columns, the model has {} inputs",
                model.graph.inputs.len()
            )));
        };
        let own_input = &model.graph.values[own_input];
        check_input(own_input, features, window)?;

        let mut builder = GraphBuilder::new(model.names());
        let raw = builder.fresh("features");
        match window {
            None => features::write_prepared(
                &mut builder,
                &raw,
                features,
                normalization,
                &own_input.name,
            )?,
            Some(window) => write_windows(
                &mut builder,
                &raw,
                features,
                window,
                normalization,
                &own_input.name,
            )?,
        }

        let input = value_info(&raw, &ValueType::f32(raw_shape(features, window)));
        let mut proto = trained(model, parameters, vec![input], builder, &BTreeMap::new())?;
        set_metadata(&mut proto, features, window);
        Ok(Self {
            bytes: proto.encode_to_vec(),
        })
    }

    fn of_tensors(
        model: &ForwardModel,
        parameters: &[Vec<f32>],
        inputs: &[TensorInput],
        normalization: &Normalization,
    ) -> Result<Self, ModelError> {
        let mut builder = GraphBuilder::new(model.names());
        let mut scaled = BTreeMap::new();
        for (input, columns) in inputs.iter().zip(statistics_ranges(inputs)) {
            let own = model.graph.find(&input.name);
            let own = own.filter(|id| model.graph.inputs.contains(id));
            let own = own.ok_or_else(|| {
                let what = format!(
                    "the model has no input `{}`; change the job's inputs",
                    input.name
                );
                ModelError::Features(what)
            })?;
            check_shape(&model.graph.values[own], input)?;
            let output = builder.fresh("fl.scaled");
            let name = &input.name;
            if tensors::write_scaled(&mut builder, name, input, columns, normalization, &output)? {
                scaled.insert(name.clone(), output);
            }
        }
        let proto = trained(model, parameters, own_inputs(model), builder, &scaled)?;
        Ok(Self {
            bytes: proto.encode_to_vec(),
        })
    }

    /// Puts the parameters into the user's model, which takes its own inputs as before.
    ///
    /// # Errors
    /// Parameters do not fit the model.
    pub fn plain(model: &ForwardModel, parameters: &[Vec<f32>]) -> Result<Self, ModelError> {
        check_parameters(model, parameters)?;
        if let Some((base, values)) = model.merged(parameters)? {
            return Self::plain(&base, &values);
        }
        let builder = GraphBuilder::new(model.names());
        let proto = trained(
            model,
            parameters,
            own_inputs(model),
            builder,
            &BTreeMap::new(),
        )?;
        Ok(Self {
            bytes: proto.encode_to_vec(),
        })
    }
}

/// The inputs of the user's model, with an open batch dimension.
fn own_inputs(model: &ForwardModel) -> Vec<ValueInfoProto> {
    let inputs = model.graph.inputs.iter().map(|id| &model.graph.values[*id]);
    let inputs = inputs.map(|input| value_info(&input.name, &input.value_type));
    inputs.collect()
}

/// Refuses an input whose examples are not of the job's dimensions.
fn check_shape(own: &Value, input: &TensorInput) -> Result<(), ModelError> {
    let dims = input.dims().into_iter().map(Dim::Fixed);
    let wanted: Shape = std::iter::once(Dim::Batch(1)).chain(dims).collect();
    if *own.shape() == wanted {
        return Ok(());
    }
    let (name, is) = (&own.name, show(own.shape()));
    Err(ModelError::Features(format!(
        "examples of `{name}` are {}, the model's input is {is}; change the job's inputs or the model",
        show(&wanted)
    )))
}

/// Lets a node, and the bodies of loops within it, read other values.
fn read_instead(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    for input in &mut node.input {
        if let Some(other) = names.get(input) {
            input.clone_from(other);
        }
    }
    let bodies = node.attribute.iter_mut().filter_map(|own| own.g.as_mut());
    for inner in bodies.flat_map(|body| &mut body.node) {
        read_instead(inner, names);
    }
}

/// Refuses a model whose input is not what the features encode to.
fn check_input(
    input: &Value,
    features: &FeatureSpec,
    window: Option<&Window>,
) -> Result<(), ModelError> {
    let width = features.encoded_width() as u64;
    let own: Vec<u64> = window.map_or_else(|| vec![width], |window| window.dims(width).into());
    let own = own.into_iter().map(Dim::Fixed);
    let wanted: Shape = std::iter::once(Dim::Batch(1)).chain(own).collect();
    if *input.shape() == wanted {
        return Ok(());
    }
    let (name, is) = (&input.name, show(input.shape()));
    let what = match window {
        None => format!("they encode to {width} columns"),
        Some(_) => format!("windows of {width} encoded columns are {}", show(&wanted)),
    };
    Err(ModelError::Features(format!(
        "{what}, the model's input `{name}` is {is}; change the job's features or the model"
    )))
}

/// The shape of the raw columns: time first, whatever the layout of the model inside.
fn raw_shape(features: &FeatureSpec, window: Option<&Window>) -> Shape {
    let length = window.map(|window| Dim::Fixed(u64::from(window.length)));
    let columns = Dim::Fixed(features.features.len() as u64);
    let batch = std::iter::once(Dim::Batch(1));
    batch.chain(length).chain([columns]).collect()
}

/// Writes raw windows `[N, T, C]` → normalised windows in the model's layout, with the given name for the
/// result: preprocessing goes row by row, so windows are taken apart into rows before it.
fn write_windows(
    graph: &mut GraphBuilder,
    raw: &str,
    features: &FeatureSpec,
    window: &Window,
    normalization: &Normalization,
    output: &str,
) -> Result<(), ModelError> {
    let rows = graph.reshape(raw, &[-1, features.features.len() as i64]);
    let prepared = graph.fresh("fl.prepared");
    features::write_prepared(graph, &rows, features, normalization, &prepared)?;
    let shape = [
        -1,
        i64::from(window.length),
        features.encoded_width() as i64,
    ];
    match window.layout {
        WindowLayout::TimeFirst => {
            let shape = graph.integers(&shape);
            graph.node_into("Reshape", &[&prepared, &shape], &[], output.to_owned());
        }
        WindowLayout::ChannelsFirst => {
            let windows = graph.reshape(&prepared, &shape);
            let order = [ints("perm", &[0, 2, 1])];
            graph.node_into("Transpose", &[&windows], &order, output.to_owned());
        }
    }
    Ok(())
}

/// The user's model with other parameters, an open batch dimension at its inputs and outputs, and what
/// `before` has written before it: where `instead` names one of its inputs, it reads that value. It works as
/// it does outside of training, however it was exported.
fn trained(
    model: &ForwardModel,
    parameters: &[Vec<f32>],
    inputs: Vec<ValueInfoProto>,
    mut before: GraphBuilder,
    instead: &BTreeMap<String, String>,
) -> Result<ModelProto, ModelError> {
    check_parameters(model, parameters)?;
    let mut proto: ModelProto = model.proto.clone();
    let Some(graph) = proto.graph.as_mut() else {
        return Err(ModelError::Graph("is missing".to_owned()));
    };
    let values_of: BTreeMap<&str, (&Parameter, &Vec<f32>)> = model
        .parameters
        .iter()
        .zip(parameters)
        .map(|(own, values)| (own.name.as_str(), (own, values)))
        .collect();
    for tensor in &mut graph.initializer {
        if let Some((own, values)) = values_of.get(tensor.name()) {
            *tensor = encode_f32(&own.name, &own.shape, values);
        }
    }
    let first = before.nodes.len();
    for index in 0..model.graph.nodes.len() {
        write_node(&model.graph, index, Purpose::Evaluate, &mut before)?;
    }
    let own = before.nodes[first..].iter_mut();
    own.for_each(|node| read_instead(node, instead));
    graph.node = before.nodes;
    graph.initializer.append(&mut before.initializers);
    graph.input = inputs;
    // Declared shapes of inner values may hold the batch size of the export.
    graph.value_info.clear();
    let outputs = model
        .graph
        .outputs
        .iter()
        .map(|id| &model.graph.values[*id]);
    graph.output = outputs
        .map(|output| value_info(&output.name, &output.value_type))
        .collect();
    // Earlier versions want every initialiser among the inputs.
    proto.ir_version = Some(proto.ir_version().max(IR_VERSION_MIN));
    Ok(proto)
}

/// Refuses other parameters than all of them, or those that travel: the others then stay as in the file.
fn check_parameters(model: &ForwardModel, parameters: &[Vec<f32>]) -> Result<(), ModelError> {
    let counts = [model.parameters.len(), model.shared().len()];
    if !counts.contains(&parameters.len()) {
        return Err(ModelError::Graph(format!(
            "has {} parameters, {} were given",
            model.parameters.len(),
            parameters.len()
        )));
    }
    for (own, given) in model.parameters.iter().zip(parameters) {
        if own.initial.len() != given.len() {
            return Err(ModelError::Parameter {
                name: own.name.clone(),
                reason: format!(
                    "has {} elements, {} were given",
                    own.initial.len(),
                    given.len()
                ),
            });
        }
    }
    Ok(())
}

fn set_metadata(proto: &mut ModelProto, features: &FeatureSpec, window: Option<&Window>) {
    let names: Vec<&str> = features.features.iter().map(Feature::name).collect();
    let mut entries = vec![(FEATURE_NAMES.to_owned(), json(&names))];
    for feature in &features.features {
        if let Feature::Categorical { column, categories } = feature {
            let values: Vec<&str> = categories.iter().map(String::as_str).collect();
            entries.push((format!("categories.{column}"), json(&values)));
        }
    }
    if let Some(window) = window {
        let (length, layout) = (window.length, window.layout.name());
        let value = serde_json::json!({ "length": length, "layout": layout });
        entries.push((WINDOW.to_owned(), value.to_string()));
    }
    proto
        .metadata_props
        .retain(|own| entries.iter().all(|(key, _)| key != own.key()));
    proto.metadata_props.extend(
        entries
            .into_iter()
            .map(|(key, value)| StringStringEntryProto {
                key: Some(key),
                value: Some(value),
            }),
    );
}

/// A JSON array of texts.
fn json(values: &[&str]) -> String {
    serde_json::Value::from(values.to_vec()).to_string()
}
