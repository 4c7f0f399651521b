//! What a model file says about its parameters, and trained ones back into it.

use fl_model::{DataSpec, FeatureSpec, Loss, Normalization, TrainingSpec, Window};
use onnx_grad::{
    Cost, Differentiated, ForwardModel, InferenceModel, InputInfo, InputKind, Limits, TrainingGraph,
};

use crate::error::TrainError;
use crate::examples::{Examples, Targets};

/// Name and shape of a parameter; a model's list of them is its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Name of the initialiser in the model file.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

/// The trainable parameters of a model in the order in which they travel everywhere.
///
/// # Errors
/// The bytes are not a model that can be trained.
pub fn parameter_layout(model: &[u8]) -> Result<Vec<ParameterInfo>, TrainError> {
    let model = parse(model)?;
    let infos = model.parameters().iter().map(|parameter| ParameterInfo {
        name: parameter.name.clone(),
        shape: parameter.shape.clone(),
    });
    Ok(infos.collect())
}

/// What training a model costs a device; see [`Cost`].
///
/// # Errors
/// The bytes are not a model that can be trained.
pub fn cost(model: &[u8]) -> Result<Cost, TrainError> {
    Ok(parse(model)?.cost())
}

/// The parameters as they stand in the model file, in the order of the layout, each row-major.
///
/// # Errors
/// The bytes are not a model that can be trained.
pub fn initial_parameters(model: &[u8]) -> Result<Vec<Vec<f32>>, TrainError> {
    let model = parse(model)?;
    Ok(model
        .parameters()
        .iter()
        .map(|own| own.initial.clone())
        .collect())
}

/// Whether a model can be trained as asked on these features and this label; for the moment of
/// submitting a job, so that nothing fails on a device later. Needs no runtime.
///
/// # Errors
/// What does not fit: operator, shape, loss, hyper-parameter, number of features or of outputs.
pub fn check_model(model: &[u8], spec: &TrainingSpec, data: &DataSpec) -> Result<(), TrainError> {
    let model = parse(model)?;
    TrainingGraph::new(Differentiated::new(&model, spec.loss)?, spec)?;
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

/// Refuses a model whose inputs are not the one that the job's features make.
fn check_inputs(model: &ForwardModel, data: &DataSpec) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Examples(reason));
    if let Some(problem) = data.window.and_then(|window| window.problem(&data.label)) {
        return fail(format!("the job's window cannot be cut: {problem}"));
    }
    let inputs = model.inputs();
    let wanted = data.example_dims();
    let dims: Vec<&[u64]> = inputs.iter().map(|input| &input.dims[..]).collect();
    if dims == [&wanted[..]] && inputs[0].kind == InputKind::F32 {
        return Ok(());
    }
    let (width, takes) = (data.inputs.encoded_width(), show_inputs(&inputs));
    match &data.window {
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

/// The user's own model with trained parameters, taking raw columns; see [`InferenceModel`].
///
/// # Errors
/// Parameters or features do not fit the model.
pub fn export(
    model: &[u8],
    parameters: &[Vec<f32>],
    features: &FeatureSpec,
    window: Option<&Window>,
    normalization: &Normalization,
) -> Result<Vec<u8>, TrainError> {
    let model = parse(model)?;
    Ok(InferenceModel::new(&model, parameters, features, window, normalization)?.bytes)
}

/// The user's own model with trained parameters, taking its own inputs as before.
///
/// # Errors
/// Parameters do not fit the model.
pub fn export_plain(model: &[u8], parameters: &[Vec<f32>]) -> Result<Vec<u8>, TrainError> {
    Ok(InferenceModel::plain(&parse(model)?, parameters)?.bytes)
}

pub(crate) fn parse(model: &[u8]) -> Result<ForwardModel, TrainError> {
    Ok(ForwardModel::parse(model, &Limits::default())?)
}

/// Refuses parameters that are not of the layout.
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

/// Numbers of one example; the model's limits keep the product small.
pub(crate) fn elements(dims: &[u64]) -> usize {
    dims.iter().product::<u64>() as usize
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
