//! What operators on each element refuse, and what they make of known numbers.

use fl_model::Loss;
use prost::Message;

use super::hostile::{check, check_known, linear, node};
use super::parse;
use crate::Differentiated;
use crate::attributes::{float, int};
use crate::proto::{GraphProto, ModelProto, NodeProto};
use crate::tensor::{encode_f32, encode_i64};

/// Puts nodes in place of the linear model's one. They find its `x` of `[N,3]`, `w` of `[3,2]` and `b` of
/// `[2]`, besides whole numbers and a single float.
fn nodes(nodes: Vec<NodeProto>) -> impl FnOnce(&mut ModelProto, &mut GraphProto) {
    |_, graph| {
        graph.node = nodes;
        graph.initializer.push(encode_i64("ints", &[1, 2, 3]));
        graph.initializer.push(encode_f32("one", &[], &[1.0]));
    }
}

fn with_floats(mut node: NodeProto, attributes: &[(&str, f32)]) -> NodeProto {
    let attributes = attributes.iter();
    node.attribute
        .extend(attributes.map(|(name, value)| float(name, *value)));
    node
}

#[test]
fn types_must_be_what_the_operator_takes() {
    check(
        "input 0 (`ints`) is I64; only float32 can be trained",
        nodes(vec![node("Exp", &["ints"], "y")]),
    );
    check(
        "input 0 (`x`) is F32, a mask of bool is expected",
        nodes(vec![node("Where", &["x", "x", "x"], "y")]),
    );
    check(
        "input 1 (`x`) is F32, a mask of bool is expected",
        nodes(vec![
            node("Greater", &["x", "one"], "m"),
            node("And", &["m", "x"], "y"),
        ]),
    );
    check(
        "input 0 (`m`) is Bool; only float32",
        nodes(vec![
            node("Greater", &["x", "one"], "m"),
            node("Neg", &["m"], "y"),
        ]),
    );
    check(
        "input 1 (`ints`) is I64; only float32",
        nodes(vec![node("Max", &["x", "ints"], "y")]),
    );
    check(
        "input 0 (`ints`) is I64; only float32",
        nodes(vec![node("Less", &["ints", "x"], "y")]),
    );
    check(
        "input 0 (`ints`) is I64; only float32",
        nodes(vec![node("Sum", &["ints", "ints"], "y")]),
    );
    check(
        "output `y` is not float32",
        nodes(vec![node("IsNaN", &["x"], "y")]),
    );
}

#[test]
fn inputs_must_be_there_and_fit() {
    check("input 0 is missing", nodes(vec![node("Max", &[], "y")]));
    check(
        "input 1 is missing",
        nodes(vec![node("Min", &["x", ""], "y")]),
    );
    check("input 1 is missing", nodes(vec![node("Pow", &["x"], "y")]));
    check(
        "input 2 is missing",
        nodes(vec![
            node("Greater", &["x", "one"], "m"),
            node("Where", &["m", "x"], "y"),
        ]),
    );
    check(
        "has 2 inputs, at most 1",
        nodes(vec![node("Not", &["x", "x"], "y")]),
    );
    check(
        "shapes [N,3] and [2] do not broadcast",
        nodes(vec![node("Mean", &["x", "b"], "y")]),
    );
    check(
        "shapes [N,3] and [3,N] do not broadcast",
        nodes(vec![
            node("Transpose", &["x"], "t"),
            node("Equal", &["x", "t"], "y"),
        ]),
    );
    check(
        "its slope [3,2] does not broadcast to [2]",
        nodes(vec![node("PRelu", &["b", "w"], "y")]),
    );
    check(
        "its bound `b` is F32 [2], a single F32 is expected",
        nodes(vec![node("Clip", &["x", "", "b"], "y")]),
    );
    check(
        "its bound `ints` is I64 [3], a single F32 is expected",
        nodes(vec![node("Clip", &["x", "ints"], "y")]),
    );
}

#[test]
fn settings_must_have_a_meaning() {
    check(
        "it divides floats, for which its fmod must be 1",
        nodes(vec![node("Mod", &["x", "one"], "y")]),
    );
    check(
        "its alpha is 0, by which it divides",
        nodes(vec![with_floats(
            node("Celu", &["x"], "y"),
            &[("alpha", 0.0)],
        )]),
    );
    // Mish came with operator set 18.
    check(
        "uses the operator Mish",
        nodes(vec![node("Mish", &["x"], "y")]),
    );
}

#[test]
fn steps_carry_no_gradient() {
    for operator in ["Floor", "Ceil", "Round", "Sign"] {
        check(
            "no float32 initialiser that reaches the output",
            nodes(vec![
                node("Gemm", &["x", "w", "b"], "z"),
                node(operator, &["z"], "y"),
            ]),
        );
    }
}

#[test]
fn comparisons_of_known_numbers_are_known() {
    let cases = [
        ("Equal", [false, true, false]),
        ("Greater", [false, false, true]),
        ("GreaterOrEqual", [false, true, true]),
        ("Less", [true, false, false]),
        ("LessOrEqual", [true, true, false]),
    ];
    for (operator, expected) in cases {
        for (a, expected) in [-1, 0, 1].into_iter().zip(expected) {
            let numbers = [("a", &[a][..]), ("zero", &[0])];
            check_known(&numbers, &[node(operator, &["a", "zero"], "m")], expected);
        }
    }
}

#[test]
fn logic_of_known_masks_is_known() {
    let cases = [
        ("And", [false, false, false, true]),
        ("Equal", [true, false, false, true]),
        ("Or", [false, true, true, true]),
        ("Xor", [false, true, true, false]),
    ];
    for (operator, expected) in cases {
        for (bits, expected) in (0..).zip(expected) {
            let numbers = [("a", &[bits & 1][..]), ("b2", &[bits >> 1]), ("one", &[1])];
            let made = [
                node("Equal", &["a", "one"], "p"),
                node("Greater", &["one", "b2"], "not_q"),
                node("Not", &["not_q"], "q"),
                node(operator, &["p", "q"], "m"),
            ];
            check_known(&numbers, &made, expected);
        }
    }
}

#[test]
fn arithmetic_on_known_numbers_is_known() {
    fn check(operator: &str, fmod: i64, operands: &[i64], expected: i64) {
        let names = &["a", "b2", "c"][..operands.len()];
        let mut numbers: Vec<(&str, &[i64])> =
            names.iter().copied().zip(operands.chunks(1)).collect();
        numbers.push(("expected", std::slice::from_ref(&expected)));
        let mut made = node(operator, names, "r");
        if fmod == 1 {
            made.attribute.push(int("fmod", 1));
        }
        check_known(
            &numbers,
            &[made, node("Equal", &["r", "expected"], "m")],
            true,
        );
    }
    check("Mod", 0, &[-7, 3], 2);
    check("Mod", 0, &[7, -3], -2);
    check("Mod", 0, &[-7, -3], -1);
    check("Mod", 0, &[6, -3], 0);
    check("Mod", 1, &[-7, 3], -1);
    check("Mod", 1, &[7, -3], 1);
    check("Neg", 0, &[5], -5);
    check("Max", 0, &[-5, 4, 2], 4);
    check("Min", 0, &[3, -5, 2], -5);
}

#[test]
fn numbers_that_are_not_known_are_no_shape() {
    let reshape = |fold: Vec<NodeProto>| {
        move |_: &mut ModelProto, graph: &mut GraphProto| {
            graph.initializer.push(encode_i64("target", &[-1, 2]));
            graph.initializer.push(encode_i64("zero", &[0]));
            graph.initializer.push(encode_i64("least", &[i64::MIN]));
            graph.initializer.push(encode_i64("minus", &[-1]));
            graph.node[0].output[0] = "z".to_owned();
            graph.node.extend(fold);
            graph.node.push(node("Reshape", &["z", "s"], "y"));
        }
    };
    let unknown = "its shape `s` must be an int64 constant";
    check(
        unknown,
        reshape(vec![node("Mod", &["target", "zero"], "s")]),
    );
    check(
        unknown,
        reshape(vec![node("Mod", &["least", "minus"], "s")]),
    );
    check(unknown, reshape(vec![node("Neg", &["least"], "s")]));
    // The mask depends on the examples.
    check(
        unknown,
        reshape(vec![
            node("Greater", &["z", "b"], "m"),
            node("Where", &["m", "target", "zero"], "s"),
        ]),
    );
}

#[test]
fn an_exponent_is_a_constant_only_where_it_is_not_trained() {
    fn check(dims: &[u64], readers: usize) {
        let mut model = linear();
        let graph = model.graph.as_mut().unwrap();
        graph.initializer.push(encode_f32("e", dims, &[3.0]));
        graph.node[0].output[0] = "z".to_owned();
        graph.node.push(node("Pow", &["z", "e"], "y"));
        let model = parse(&model.encode_to_vec()).unwrap();
        let graph = Differentiated::new(&model, Loss::MeanSquaredError).unwrap();
        let nodes = graph.builder.nodes.iter();
        let reading = nodes.filter(|own| own.input.iter().any(|name| name == "e"));
        assert_eq!(reading.count(), readers, "{dims:?}");
    }
    // The forward pass alone; besides, the gradient compares it with 0, takes 1 away, and multiplies by it.
    check(&[], 1);
    check(&[1], 4);
}
