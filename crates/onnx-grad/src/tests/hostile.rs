//! Models that are broken, absurd or out to harm: each is an error that says what is wrong. And ways
//! of exporters that are odd, but fine.

use fl_model::Loss;
use prost::Message;

use super::parse;
use crate::attributes::{int, ints};
use crate::builder::value_info;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use crate::shape::{Dim, Element, ValueType};
use crate::tensor::{encode_f32, encode_i64};
use crate::{Differentiated, ForwardModel, Limits};

pub(super) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("make_{output}")),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn floats(dims: &[Dim]) -> ValueType {
    ValueType::f32(dims.to_vec())
}

/// `y = x·w + b`, three inputs and two outputs wide.
pub(super) fn linear() -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(17),
        }],
        graph: Some(GraphProto {
            node: vec![node("Gemm", &["x", "w", "b"], "y")],
            initializer: vec![
                encode_f32("w", &[3, 2], &[0.5; 6]),
                encode_f32("b", &[2], &[0.0; 2]),
            ],
            input: vec![value_info("x", &floats(&[Dim::Batch(1), Dim::Fixed(3)]))],
            output: vec![value_info("y", &floats(&[Dim::Batch(1), Dim::Fixed(2)]))],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The linear model, changed, is refused with a message that contains the text.
pub(super) fn check(expected: &str, change: impl FnOnce(&mut ModelProto, &mut GraphProto)) {
    let mut model = linear();
    let mut graph = model.graph.take().unwrap();
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    let message = parse(&model.encode_to_vec())
        .expect_err(expected)
        .to_string();
    assert!(
        message.contains(expected),
        "`{message}` does not contain `{expected}`"
    );
}

/// Nodes make of known numbers an `m` that is known to be true or false: it chooses a shape.
pub(super) fn check_known(numbers: &[(&str, &[i64])], made: &[NodeProto], expected: bool) {
    let mut model = linear();
    let graph = model.graph.as_mut().unwrap();
    let shapes = [("yes", &[-1, 2, 1][..]), ("no", &[-1, 1, 2])];
    let numbers = numbers.iter().copied().chain(shapes);
    graph
        .initializer
        .extend(numbers.map(|(name, values)| encode_i64(name, values)));
    graph.node[0].output[0] = "z".to_owned();
    graph.node.extend_from_slice(made);
    graph.node.push(node("Where", &["m", "yes", "no"], "s"));
    graph.node.push(node("Reshape", &["z", "s"], "y"));
    let dims = parse(&model.encode_to_vec()).unwrap().output_dims();
    assert_eq!(dims == [2, 1], expected, "{made:?}");
}

#[test]
fn the_model_that_the_others_are_made_of_is_fine() {
    let model = parse(&linear().encode_to_vec()).unwrap();
    let names: Vec<&str> = model
        .parameters()
        .iter()
        .map(|own| own.name.as_str())
        .collect();
    assert_eq!(names, ["w", "b"]);
    assert_eq!(
        (model.inputs()[0].dims.clone(), model.output_dims()),
        (vec![3], vec![2])
    );
}

#[test]
fn the_ways_of_exporters_are_accepted() {
    let mut model = linear();
    model.opset_import.push(OperatorSetIdProto {
        domain: Some("com.microsoft".to_owned()),
        version: Some(1),
    });
    let graph = model.graph.as_mut().unwrap();
    // Old exporters list initialisers among the inputs, and store numbers in typed fields.
    graph
        .input
        .push(value_info("w", &floats(&[Dim::Fixed(3), Dim::Fixed(2)])));
    graph.initializer[0].raw_data = None;
    graph.initializer[0].float_data = vec![0.25; 6];
    // Without dynamic axes the example's batch size stands in the file, here 1.
    graph.input[0] = value_info("x", &floats(&[Dim::Fixed(1), Dim::Fixed(3)]));
    graph.output[0] = value_info("y", &floats(&[Dim::Fixed(1), Dim::Fixed(2)]));
    // Factors that were written as numbers stay as they are.
    graph.node[0].output[0] = "z".to_owned();
    graph.initializer.push(encode_f32("half", &[], &[0.5]));
    graph.node.push(node("Mul", &["z", "half"], "y"));
    let model = parse(&model.encode_to_vec()).unwrap();
    let shapes: Vec<(&str, &[u64])> = model
        .parameters()
        .iter()
        .map(|own| (own.name.as_str(), &own.shape[..]))
        .collect();
    assert_eq!(shapes, [("w", &[3, 2][..]), ("b", &[2])]);
    assert_eq!(model.parameters()[0].initial, [0.25; 6]);
    assert!(Differentiated::new(&model, Loss::MeanSquaredError).is_ok());
}

#[test]
fn operators_are_refused_by_name() {
    check(
        "node `make_y` uses the operator Scan, which cannot be trained (export recurrent layers unrolled: in Keras unroll=True); supported are Abs, Add,",
        |_, graph| {
            graph.node[0].op_type = Some("Scan".to_owned());
        },
    );
    check("uses the operator com.microsoft::Gemm", |_, graph| {
        graph.node[0].domain = Some("com.microsoft".to_owned());
    });
    check("node `#0` uses the operator , which", |_, graph| {
        graph.node[0] = NodeProto::default()
    });
    // Gelu came with operator set 20.
    check("uses the operator Gelu", |_, graph| {
        graph.node[0] = node("Gelu", &["x"], "y")
    });
}

#[test]
fn versions_and_missing_parts_are_named() {
    check("opset 12, supported are 13 to 22", |model, _| {
        model.opset_import[0].version = Some(12)
    });
    check("opset 23", |model, _| {
        model.opset_import[0].version = Some(23)
    });
    check("opset 0", |model, _| model.opset_import.clear());
    check("opset 0", |model, _| {
        model.opset_import[0].domain = Some("com.example".to_owned())
    });
    let message = parse(&[]).unwrap_err().to_string();
    assert!(message.contains("opset 0"), "{message}");
    let message = parse(b"<html>not found</html>").unwrap_err().to_string();
    assert!(message.contains("not an ONNX model"), "{message}");
    let bare = ModelProto {
        graph: None,
        ..linear()
    };
    let message = parse(&bare.encode_to_vec()).unwrap_err().to_string();
    assert!(message.contains("graph is missing"), "{message}");
}

#[test]
fn graphs_that_do_not_run_are_refused() {
    check(
        "reads `y`, which no input, initialiser or earlier node makes",
        |_, graph| {
            graph.node[0].input[0] = "y".to_owned();
        },
    );
    check("nodes must be in order and without cycles", |_, graph| {
        graph.node = vec![
            node("Relu", &["b2"], "a"),
            node("Relu", &["a"], "b2"),
            graph.node[0].clone(),
        ];
    });
    check("defines `y` twice", |_, graph| {
        graph.node.push(graph.node[0].clone())
    });
    check("defines `w` twice", |_, graph| {
        graph.initializer.push(graph.initializer[0].clone())
    });
    check("a value without a name", |_, graph| {
        graph.node[0].output[0].clear()
    });
    check("has 0 outputs, 1 are expected", |_, graph| {
        graph.node[0].output.clear()
    });
    check("has 2 outputs, 1 are expected", |_, graph| {
        graph.node[0].output.push("z".to_owned())
    });
    check("input 0 is missing", |_, graph| {
        graph.node[0].input[0].clear()
    });
    check("has 4 inputs", |_, graph| {
        graph.node[0].input.push("x".to_owned())
    });
    check("output `y` is made by no node", |_, graph| {
        graph.node.clear()
    });
    check("has no output", |_, graph| graph.output.clear());
    check("has no input", |_, graph| graph.input.clear());
    check(
        "no float32 initialiser that reaches the output",
        |_, graph| graph.node[0] = node("Relu", &["x"], "y"),
    );
}

#[test]
fn inputs_and_outputs_must_be_batches_of_numbers() {
    let x = |element: Element, dims: &[Dim]| {
        value_info(
            "x",
            &ValueType {
                element,
                shape: dims.to_vec(),
            },
        )
    };
    check("input `x` is neither float32 nor int64", |_, graph| {
        graph.input[0] = x(Element::F64, &[Dim::Batch(1), Dim::Fixed(3)])
    });
    check("input `x` has rank 0", |_, graph| {
        graph.input[0] = x(Element::F32, &[])
    });
    check("no fixed size in dimension 1", |_, graph| {
        graph.input[0] = x(Element::F32, &[Dim::Batch(1), Dim::Batch(1)]);
    });
    check(
        "output `y` has the shape [2,N], but must begin with the batch",
        |_, graph| {
            graph.node[0].output[0] = "z".to_owned();
            graph.node.push(node("Transpose", &["z"], "y"));
        },
    );
    check("output `w` has the shape [3,2]", |_, graph| {
        graph.output[0].name = Some("w".to_owned())
    });
}

#[test]
fn tensors_are_read_with_care() {
    let first = |change: fn(&mut TensorProto)| {
        move |_: &mut ModelProto, graph: &mut GraphProto| change(&mut graph.initializer[0])
    };
    check(
        "tensor `w`: its data lies in another file",
        first(|w| w.data_location = Some(1)),
    );
    check(
        "its data lies in another file",
        first(|w| {
            w.external_data.push(StringStringEntryProto {
                key: Some("location".to_owned()),
                value: Some("/etc/passwd".to_owned()),
            });
        }),
    );
    check(
        "needs 6 elements, it holds 5",
        first(|w| {
            w.raw_data.as_mut().unwrap().truncate(20);
        }),
    );
    check(
        "21 bytes are not a whole number",
        first(|w| w.raw_data.as_mut().unwrap().truncate(21)),
    );
    check("has a dimension of -3", first(|w| w.dims[0] = -3));
    check("has a dimension of 0", first(|w| w.dims[0] = 0));
    check(
        "more than 67108864 elements",
        first(|w| w.dims = vec![i64::MAX, i64::MAX, i64::MAX]),
    );
    check(
        "more than 67108864 elements",
        first(|w| w.dims = vec![1 << 40]),
    );
    check("has rank 20", first(|w| w.dims = vec![1; 20]));
    check(
        "unsupported element type 8",
        first(|w| w.data_type = Some(8)),
    );
    check(
        "unsupported element type -1",
        first(|w| w.data_type = Some(-1)),
    );
    check(
        "element 2 is NaN",
        first(|w| *w = encode_f32("w", &[3, 2], &[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0])),
    );
    check(
        "input 1 (`w`) is F64; only float32 can be trained",
        first(|w| {
            w.data_type = Some(Element::F64.to_proto());
            w.raw_data = Some(vec![0; 48]);
        }),
    );
    check("sparse initialisers", |_, graph| {
        graph.sparse_initializer.push(Default::default())
    });
}

#[test]
fn shapes_that_do_not_fit_are_shown() {
    check("cannot multiply over dimensions 3 and 2", |_, graph| {
        graph.node[0].attribute.push(int("transB", 1))
    });
    check("bias [5] does not", |_, graph| {
        graph.initializer[1] = encode_f32("b", &[5], &[0.0; 5])
    });
    check("shapes [N,3] and [2] do not broadcast", |_, graph| {
        graph.node[0] = node("Add", &["x", "b"], "y")
    });
    check("mixes examples", |_, graph| {
        graph.node = vec![
            node("Transpose", &["x"], "t"),
            node("MatMul", &["x", "t"], "y"),
        ];
    });
    check("cannot multiply [3,N] by [N,3]", |_, graph| {
        graph.node = vec![
            node("Transpose", &["x"], "t"),
            node("MatMul", &["t", "x"], "y"),
        ];
    });
    check("which mixes examples", |_, graph| {
        let mut softmax = node("Softmax", &["x"], "y");
        softmax.attribute.push(int("axis", 0));
        graph.node[0] = softmax;
    });
    check("[0, 0] is not an order of 2 axes", |_, graph| {
        let mut transpose = node("Transpose", &["x"], "y");
        transpose.attribute.push(ints("perm", &[0, 0]));
        graph.node[0] = transpose;
    });
    check("axis 9223372036854775807 is outside", |_, graph| {
        let mut flatten = node("Flatten", &["x"], "y");
        flatten.attribute.push(int("axis", i64::MAX));
        graph.node[0] = flatten;
    });
}

#[test]
fn reshapes_must_keep_elements_and_the_batch() {
    let reshape = |target: &'static [i64]| {
        move |_: &mut ModelProto, graph: &mut GraphProto| {
            graph.node[0].output[0] = "z".to_owned();
            graph.initializer.push(encode_i64("s", target));
            graph.node.push(node("Reshape", &["z", "s"], "y"));
        }
    };
    check("fixes the number of examples", reshape(&[1, 2]));
    check("[N,2] does not fit into [-1, -1]", reshape(&[-1, -1]));
    check("[N,2] does not fit into [-1, 4]", reshape(&[-1, 4]));
    check("does not fit", reshape(&[-2, 2]));
    check("does not fit", reshape(&[0, i64::MAX]));
    check("does not fit", reshape(&[i64::MAX, i64::MAX, -1]));
    check("does not fit", reshape(&[0, 2, 0]));
    check(
        "has rank 9, more than 8",
        reshape(&[-1, 2, 1, 1, 1, 1, 1, 1, 1]),
    );
    check("its shape `x` must be an int64 constant", |_, graph| {
        graph.node[0] = node("Reshape", &["x", "x"], "y")
    });
}

#[test]
fn sizes_are_bounded() {
    check("bytes in one name", |_, graph| {
        graph.node[0].name = Some("n".repeat(2000))
    });
    check("has 20001 nodes, more than 10000", |_, graph| {
        graph
            .node
            .extend((0..20_000).map(|index| node("Relu", &["y"], &format!("r{index}"))));
    });
    check(
        "the intermediate values of one example to more than",
        |_, graph| {
            graph.initializer[0] = encode_f32("w", &[1 << 20, 1], &vec![0.0; 1 << 20]);
            graph.input[0] = value_info(
                "x",
                &floats(&[Dim::Batch(1), Dim::Fixed(1), Dim::Fixed(1 << 6)]),
            );
            graph.node[0] = node("Add", &["x", "w"], "y");
        },
    );
    let bytes = linear().encode_to_vec();
    let limits = Limits {
        model_bytes_max: 10,
        ..Limits::default()
    };
    let message = ForwardModel::parse(&bytes, &limits)
        .unwrap_err()
        .to_string();
    assert!(message.contains("more than the 10 allowed"), "{message}");
}

#[test]
fn deep_nesting_is_refused() {
    // ModelProto.graph.node.attribute.g.node.attribute.g…, innermost first.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }
    let mut graph = Vec::new();
    for _ in 0..2000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    let message = parse(&field(7, &graph)).unwrap_err().to_string();
    assert!(message.contains("recursion limit"), "{message}");
}

#[test]
fn a_loss_must_fit_the_output() {
    fn check(width: usize, loss: Loss, expected: &str) {
        let mut model = linear();
        let graph = model.graph.as_mut().unwrap();
        graph.initializer[0] = encode_f32("w", &[3, width as u64], &vec![0.5; 3 * width]);
        graph.initializer[1] = encode_f32("b", &[1], &[0.0]);
        let model = parse(&model.encode_to_vec()).unwrap();
        let message = Differentiated::new(&model, loss)
            .err()
            .expect(expected)
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
    check(
        2,
        Loss::BinaryCrossEntropy,
        "output is [N,2], one logit an example ([N,1]) is expected",
    );
    check(
        1,
        Loss::SoftmaxCrossEntropy,
        "output is [N,1], a logit for each of two or more classes",
    );
    check(
        2,
        Loss::Huber { delta: 0.0 },
        "delta is 0; it must be a positive number",
    );
}
