//! What reductions refuse, and what they make of known numbers.

use super::hostile::{check, check_known, node};
use crate::attributes::{int, ints};
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use crate::tensor::{encode_f32, encode_i64};

/// Reads the axis from the attribute before operator set 18, and from an input since.
const OLD: i64 = 17;
const NEW: i64 = 18;

/// Puts one node behind the linear model's, of which the output is `[N,2]`.
fn behind(
    opset: i64,
    operator: &str,
    axes: &[i64],
    attributes: &[AttributeProto],
) -> impl FnOnce(&mut ModelProto, &mut GraphProto) {
    let mut node: NodeProto = node(operator, &["z", "axes"], "y");
    node.attribute.extend_from_slice(attributes);
    if axes.is_empty() {
        node.input.pop();
    }
    let axes = axes.to_vec();
    move |model, graph| {
        model.opset_import[0].version = Some(opset);
        graph.node[0].output[0] = "z".to_owned();
        if !axes.is_empty() {
            graph.initializer.push(encode_i64("axes", &axes));
        }
        graph.node.push(node);
    }
}

const REDUCTIONS: [&str; 10] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

#[test]
fn the_batch_is_not_reduced() {
    for operator in REDUCTIONS {
        let all =
            "names no axes, so that it reduces all, also axis 0 of [N,2], which mixes examples";
        check(all, behind(OLD, operator, &[], &[]));
        check(all, behind(NEW, operator, &[], &[]));
        let one = "reduces axis 0 of [N,2], which mixes examples";
        check(one, behind(NEW, operator, &[-2], &[]));
        check(one, behind(NEW, operator, &[1, 0], &[]));
        if operator != "ReduceSum" {
            check(one, behind(OLD, operator, &[], &[ints("axes", &[0])]));
        }
    }
    let runs = "runs over axis 0 of [N,2], which mixes examples";
    // The default.
    check(runs, behind(OLD, "ArgMax", &[], &[]));
    check(runs, behind(OLD, "ArgMin", &[], &[int("axis", -2)]));
    check(runs, behind(OLD, "CumSum", &[0], &[]));
}

#[test]
fn axes_must_be_there_once() {
    for operator in REDUCTIONS {
        let twice = "names axis -1 twice";
        check(twice, behind(NEW, operator, &[1, -1], &[]));
        check(
            "axis 2 is outside a value of rank 2",
            behind(NEW, operator, &[2], &[]),
        );
        check(
            "axis -9223372036854775808 is outside",
            behind(NEW, operator, &[i64::MIN], &[]),
        );
        check(
            "its axes are an attribute, which operator set 18 does not read",
            behind(NEW, operator, &[], &[ints("axes", &[1])]),
        );
        if operator != "ReduceSum" {
            check(
                "has 2 inputs, at most 1 are expected",
                behind(OLD, operator, &[1], &[]),
            );
        }
    }
    check(
        "axis 7 is outside",
        behind(OLD, "ArgMax", &[], &[int("axis", 7)]),
    );
    check("axis 5 is outside", behind(OLD, "CumSum", &[5], &[]));
    check(
        "its input 1 holds 2 numbers, one is expected",
        behind(OLD, "CumSum", &[1, 1], &[]),
    );
    check("input 1 is missing", behind(OLD, "CumSum", &[], &[]));
}

#[test]
fn axes_must_be_known() {
    let unknown = |operator: &'static str, axes: &'static str| {
        move |model: &mut ModelProto, graph: &mut GraphProto| {
            model.opset_import[0].version = Some(NEW);
            graph.node[0].output[0] = "z".to_owned();
            graph
                .initializer
                .push(encode_f32("floats", &[2], &[1.0; 2]));
            graph.node.push(node(operator, &["z", axes], "y"));
        }
    };
    let message = "(`z`) must be int64 and known when the model is read";
    check(message, unknown("ReduceMean", "z"));
    check(message, unknown("CumSum", "z"));
    check(
        "(`floats`) must be int64 and known",
        unknown("ReduceSum", "floats"),
    );
    check(
        "input 0 (`m`) is Bool; only float32",
        |_: &mut ModelProto, graph: &mut GraphProto| {
            graph.node[0].output[0] = "z".to_owned();
            graph.node.push(node("Greater", &["z", "b"], "m"));
            graph.node.push(node("ReduceMax", &["m"], "y"));
        },
    );
}

#[test]
fn reductions_of_known_numbers_are_known() {
    for (operator, expected) in [
        ("ReduceMax", 5),
        ("ReduceMin", -1),
        ("ReduceProd", 40),
        ("ReduceSum", 9),
    ] {
        for keep in [0, 1] {
            let numbers = [("list", &[2, -1, 5, 4, -1][..]), ("expected", &[expected])];
            let mut reduce = node(operator, &["list"], "r");
            reduce.attribute.push(int("keepdims", keep));
            let compare = node("Equal", &["r", "expected"], "m");
            check_known(&numbers, &[reduce, compare], true);
        }
    }
}
