//! What a model file says about its parameters, and trained ones back into it.

use fl_model::{
    DataSpec, Inputs, Loss, Normalization, TableInputs, TensorElements, TensorInput, TrainingSpec,
};
use onnx_grad::{
    Cost, ForwardModel, InferenceModel, InputInfo, InputKind, Limits, Lora, Parameter,
};

use crate::error::TrainError;
use crate::examples::{Examples, Targets};
use crate::source::Model;
use crate::weights::{check_class_weights, training_graph};

/// Name and shape of a parameter; a model's list of them is its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Name of the initialiser in the model file.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

/// The parameters of a model that travel, in the order in which they do everywhere.
///
/// # Errors
/// The bytes are not a model that can be trained, or not as asked.
pub fn parameter_layout<'a>(model: impl Into<Model<'a>>) -> Result<Vec<ParameterInfo>, TrainError> {
    let model = model.into().parse()?;
    let infos = model.shared().iter().map(|parameter| ParameterInfo {
        name: parameter.name.clone(),
        shape: parameter.shape.clone(),
    });
    Ok(infos.collect())
}

/// How many numbers of a model's parameters go where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Travel in every round.
    pub shared: u64,
    /// Stay on each device.
    pub local: u64,
    /// Stay as they are.
    pub frozen: u64,
}

impl Partition {
    /// Whether every parameter travels.
    pub fn is_whole(&self) -> bool {
        self.local == 0 && self.frozen == 0
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            shared,
            local,
            frozen,
        } = self;
        write!(f, "{shared} of {} numbers travel", shared + local + frozen)?;
        if *local > 0 {
            write!(f, ", {local} stay on each device")?;
        }
        if *frozen > 0 {
            write!(f, ", {frozen} stay as they are")?;
        }
        Ok(())
    }
}

/// How many numbers travel, and how many do not.
///
/// # Errors
/// The bytes are not a model that can be trained, or not as asked.
pub fn partition<'a>(model: impl Into<Model<'a>>) -> Result<Partition, TrainError> {
    let model = model.into().parse()?;
    let count = |own: &[Parameter]| own.iter().map(|own| own.initial.len() as u64).sum();
    let shared = count(model.shared());
    Ok(Partition {
        shared,
        local: count(model.parameters()) - shared,
        frozen: model.frozen_numbers(),
    })
}

/// The model with low-rank adapters, which alone are trained; see [`Lora`].
///
/// # Errors
/// The model cannot be trained, or cannot have these adapters.
pub fn add_lora(model: &[u8], lora: &Lora) -> Result<Vec<u8>, TrainError> {
    Ok(onnx_grad::lora(model, &Limits::default(), lora)?)
}

/// What training a model costs a device; see [`Cost`].
///
/// # Errors
/// The bytes are not a model that can be trained, or not as asked.
pub fn cost<'a>(model: impl Into<Model<'a>>) -> Result<Cost, TrainError> {
    Ok(model.into().parse()?.cost())
}

/// The parameters as they stand in the model file, each row-major: those of the layout, then the
/// device-local ones.
///
/// # Errors
/// The bytes are not a model that can be trained, or not as asked.
pub fn initial_parameters<'a>(model: impl Into<Model<'a>>) -> Result<Vec<Vec<f32>>, TrainError> {
    let model = model.into().parse()?;
    let initial = model.parameters().iter().map(|own| own.initial.clone());
    Ok(initial.collect())
}

/// Whether a model can be trained as asked on these features and this label; for the moment of
/// submitting a job, so that nothing fails on a device later. Needs no runtime.
///
/// # Errors
/// What does not fit: operator, shape, loss, hyper-parameter, number of features or of outputs.
pub fn check_model<'a>(
    model: impl Into<Model<'a>>,
    spec: &TrainingSpec,
    data: &DataSpec,
) -> Result<(), TrainError> {
    let model = model.into().parse()?;
    check_class_weights(&model, spec)?;
    let weighted = data.is_weighted() || !spec.class_weights.is_empty();
    training_graph(&model, spec, weighted)?;
    check_inputs(&model, data)?;
    let outputs = elements(&model.output_dims());
    let (wanted, per) = match (spec.loss, data.label.classes()) {
        (Loss::SoftmaxCrossEntropy, Some(classes)) => (classes, "one for each class"),
        // The logit of the second class, or the number itself.
        _ => (1, "one for an example"),
    };
    if outputs != wanted {
        return Err(TrainError::Examples(format!(
            "the model gives {outputs} outputs, the label {:?} takes {wanted}, {per}; change the job's label \
             or the model",
            data.label.column()
        )));
    }
    Ok(())
}

/// Refuses a model whose inputs are not those that the job makes.
fn check_inputs(model: &ForwardModel, data: &DataSpec) -> Result<(), TrainError> {
    match &data.inputs {
        Inputs::Table(table) => {
            let problem = table.window.and_then(|window| window.problem(&data.label));
            match problem {
                None => check_table(model, table),
                Some(problem) => Err(TrainError::Examples(format!(
                    "the job's window cannot be cut: {problem}"
                ))),
            }
        }
        Inputs::Tensors(tensors) => check_tensors(model, data, tensors),
    }
}

/// Refuses a model that has not these inputs, by name, kind and dimensions, and no others.
fn check_tensors(
    model: &ForwardModel,
    data: &DataSpec,
    tensors: &[TensorInput],
) -> Result<(), TrainError> {
    if let Some(problem) = data.inputs.problem() {
        return Err(TrainError::Examples(format!(
            "the job's inputs cannot be made: {problem}"
        )));
    }
    let given = tensors.iter().map(|tensor| InputInfo {
        name: tensor.name.clone(),
        kind: match tensor.elements {
            TensorElements::Numbers(_) => InputKind::F32,
            TensorElements::Indices => InputKind::I64,
        },
        dims: tensor.dims(),
    });
    let given: Vec<InputInfo> = given.collect();
    let taken = model.inputs();
    let same = |all: &[InputInfo], other: &[InputInfo]| all.iter().all(|one| other.contains(one));
    if same(&given, &taken) && same(&taken, &given) {
        return Ok(());
    }
    Err(TrainError::Examples(format!(
        "the job's inputs are {}, the model takes {}; change name, shape or type of the job's inputs, or the model",
        show_inputs(&given),
        show_inputs(&taken)
    )))
}

/// Refuses a model whose input is not the one that the job's columns make.
fn check_table(model: &ForwardModel, table: &TableInputs) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Examples(reason));
    let inputs = model.inputs();
    let wanted = table.example_dims();
    let dims: Vec<&[u64]> = inputs.iter().map(|input| &input.dims[..]).collect();
    if dims == [&wanted[..]] && inputs[0].kind == InputKind::F32 {
        return Ok(());
    }
    let (width, takes) = (table.features.encoded_width(), show_inputs(&inputs));
    match &table.window {
        None => fail(format!(
            "the features encode to {width} columns, the model takes {takes}; change the job's features or the model"
        )),
        Some(window) => fail(format!(
            "windows of {} rows of {width} encoded columns are {wanted:?} in the layout {}, the model takes \
             {takes}; change the job's window, its layout or features, or the model",
            window.length,
            window.layout.name()
        )),
    }
}

/// The user's own model with trained parameters, taking raw columns or raw tensors; see [`InferenceModel`].
/// Without the device-local parameters, these stay as the model file has them.
///
/// # Errors
/// Parameters or the job's inputs do not fit the model.
pub fn export<'a>(
    model: impl Into<Model<'a>>,
    parameters: &[Vec<f32>],
    inputs: &Inputs,
    normalization: &Normalization,
) -> Result<Vec<u8>, TrainError> {
    let model = model.into().parse()?;
    Ok(InferenceModel::new(&model, parameters, inputs, normalization)?.bytes)
}

/// The user's own model with trained parameters, taking its own inputs as before.
///
/// # Errors
/// Parameters do not fit the model.
pub fn export_plain<'a>(
    model: impl Into<Model<'a>>,
    parameters: &[Vec<f32>],
) -> Result<Vec<u8>, TrainError> {
    Ok(InferenceModel::plain(&model.into().parse()?, parameters)?.bytes)
}

/// An exported model with a device's own parameters in place of those of the model file; see
/// [`onnx_grad::personal`].
///
/// # Errors
/// The bytes are not a model, or have no such parameters.
pub fn personal(exported: &[u8], own: &[(&str, &[f32])]) -> Result<Vec<u8>, TrainError> {
    Ok(onnx_grad::personal(exported, &Limits::default(), own)?)
}

/// Refuses parameters that are not all of the model's, in its order.
pub(crate) fn check_parameters(
    model: &ForwardModel,
    parameters: &[Vec<f32>],
) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Parameters(reason));
    if model.parameters().len() != parameters.len() {
        return fail(format!(
            "{} are given, the model has {}",
            parameters.len(),
            model.parameters().len()
        ));
    }
    for (own, given) in model.parameters().iter().zip(parameters) {
        if own.initial.len() != given.len() {
            return fail(format!(
                "`{}` has {} elements, {} are given",
                own.name,
                own.initial.len(),
                given.len()
            ));
        }
        if !given.iter().all(|number| number.is_finite()) {
            return fail(format!("`{}` has an element that is not finite", own.name));
        }
    }
    Ok(())
}

/// Refuses examples that the model cannot take or the loss cannot judge.
pub(crate) fn check_examples(
    model: &ForwardModel,
    loss: Loss,
    examples: &Examples,
) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Examples(reason));
    let inputs = model.inputs();
    let wanted = inputs
        .iter()
        .map(|input| (input.kind, elements(&input.dims)));
    let given = examples.inputs();
    if !wanted.eq(given.iter().map(|input| (input.kind(), input.columns()))) {
        let columns: Vec<String> = given
            .iter()
            .map(|input| input.columns().to_string())
            .collect();
        return fail(format!(
            "they have {} columns, the model takes {}",
            columns.join(" and "),
            show_inputs(&inputs)
        ));
    }
    let rows = examples.rows();
    let width = elements(&model.output_dims());
    match (loss, examples.targets()) {
        (Loss::SoftmaxCrossEntropy, Targets::Classes(classes)) => {
            if classes.len() != rows {
                return fail(format!("{rows} rows have {} targets", classes.len()));
            }
            // Without the class: what an error says may leave the device, what a row says may not.
            match classes
                .iter()
                .all(|class| (0..width as i64).contains(class))
            {
                true => Ok(()),
                false => fail(format!(
                    "a target is none of the model's {width} classes: give the model an output for each class"
                )),
            }
        }
        (Loss::SoftmaxCrossEntropy, Targets::Values(_)) => {
            fail("softmax cross-entropy takes class indices as targets".to_owned())
        }
        (_, Targets::Classes(_)) => {
            fail("this loss takes numbers as targets, not class indices".to_owned())
        }
        (loss, Targets::Values(values)) => {
            if values.len() != rows * width {
                return fail(format!(
                    "{rows} rows have {} targets, the model gives {width} an example",
                    values.len()
                ));
            }
            if loss == Loss::BinaryCrossEntropy
                && !values.iter().all(|value| *value == 0.0 || *value == 1.0)
            {
                return fail("binary cross-entropy takes 0 and 1 as targets".to_owned());
            }
            Ok(())
        }
    }
}

/// Names of the inputs, in the order of the model.
pub(crate) fn names(model: &ForwardModel) -> Vec<String> {
    model.inputs().into_iter().map(|input| input.name).collect()
}

/// Numbers of one example; the model's limits keep the product small.
pub(crate) fn elements(dims: &[u64]) -> usize {
    dims.iter().product::<u64>() as usize
}

/// Dimensions as memory counts them.
pub(crate) fn sizes(dims: &[u64]) -> Vec<usize> {
    dims.iter().map(|size| *size as usize).collect()
}

/// `x [1, 28, 28] of float32`, for messages.
fn show_inputs(inputs: &[InputInfo]) -> String {
    let show = |input: &InputInfo| {
        let kind = match input.kind {
            InputKind::F32 => "float32",
            InputKind::I64 => "int64",
        };
        format!("`{}` {:?} of {kind}", input.name, input.dims)
    };
    inputs.iter().map(show).collect::<Vec<_>>().join(" and ")
}
