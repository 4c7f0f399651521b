//! What our own code says of each test row: the devices' evaluation, with the parameters that an
//! exported model carries, and that model itself.

use std::collections::BTreeMap;
use std::path::Path;

use edge_agent::data::{self, LocalData};
use edge_agent::work::{View, Workshop, raw_inputs, statistics};
use fl_model::Normalization;
use fl_runtime::job_file;
use onnx_train::{Evaluation, ExportedModel, init_runtime, initial_parameters, parameter_layout};
use prost::Message;
use xtask::demo::Region;
use xtask::fetch;

use crate::root;

/// What is said of one device's test rows, in the order of its file.
pub struct Claim {
    /// By the evaluation of a round, on prepared features.
    pub evaluation: Evaluation,
    /// By the exported model, on raw columns.
    pub outputs: Vec<f32>,
}

/// Evaluates what a job came to on the test rows of all devices: `untrained` is the job's own model,
/// `exported` what it was exported to. All devices must have taken part in the statistics.
pub fn claims(
    job: &Path,
    untrained: &Path,
    exported: &Path,
    regions: &[Region],
) -> BTreeMap<String, Claim> {
    let tools = fetch::tools(&root()).expect("nats-server and ONNX Runtime");
    init_runtime(Some(&tools.onnxruntime)).expect("ONNX Runtime");
    let job = job_file::load(job).expect("the job that was run");
    let read = |path: &Path| std::fs::read(path).expect("a model");
    let (untrained, exported) = (read(untrained), read(exported));
    let parameters = trained(&untrained, &exported);
    let devices = regions.iter().flat_map(|region| &region.devices);
    let sites: BTreeMap<String, LocalData> = devices
        .map(|device| {
            let data = data::load(&device.data, &job.data, None).expect("a device's data");
            (device.id.to_string(), data)
        })
        .collect();
    let normalization = federated(&job.data, sites.values());
    let view = View {
        data: &job.data,
        normalization: &normalization,
        loss: job.training.loss,
        options: &job.options,
    };
    let mut workshop = Workshop::default();
    let mut model = ExportedModel::new(&exported).expect("an exported model");
    sites
        .into_iter()
        .map(|(device, data)| {
            let evaluation = workshop
                .evaluate(&untrained, view, &data.test, &parameters)
                .expect("an evaluation");
            let raw = raw_inputs(&job.data, &data.test, &model.inputs()).expect("rows");
            let outputs = model.predict(&raw).expect("predictions");
            let claim = Claim {
                evaluation,
                outputs,
            };
            (device, claim)
        })
        .collect()
}

/// The scale of the features: that of all devices' training rows, whose sums are exact.
fn federated<'a>(
    spec: &fl_model::DataSpec,
    sites: impl Iterator<Item = &'a LocalData>,
) -> Normalization {
    let rows = sites.map(|site| site.train.clone());
    let rows = rows.reduce(|mut all, more| {
        all.append(&more);
        all
    });
    statistics(&spec.inputs, &rows.expect("devices"))
        .expect("statistics")
        .normalization(&spec.inputs.one_hot())
}

/// The parameters of `untrained` as they stand in `exported`.
fn trained(untrained: &[u8], exported: &[u8]) -> Vec<Vec<f32>> {
    let by_name = weights(exported);
    let layout = parameter_layout(untrained).expect("a model that can be trained");
    let parameters: Vec<Vec<f32>> = layout
        .iter()
        .map(|parameter| by_name[&parameter.name].clone())
        .collect();
    let initial = initial_parameters(untrained).expect("a model that can be trained");
    assert_ne!(
        parameters, initial,
        "the exported model is the untrained one"
    );
    parameters
}

/// The float initialisers of an ONNX file by their names, without their shapes.
pub fn weights(model: &[u8]) -> BTreeMap<String, Vec<f32>> {
    let graph = Model::decode(model).expect("ONNX").graph;
    let tensors = graph.expect("a graph").initializers.into_iter();
    tensors
        .map(|tensor| {
            let numbers = tensor.raw_data.chunks_exact(size_of::<f32>());
            let numbers = numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4")));
            (tensor.name, numbers.collect())
        })
        .collect()
}

/// The few fields of ONNX that hold parameters.
#[derive(Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Tensor>,
}

#[derive(Message)]
struct Tensor {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}
