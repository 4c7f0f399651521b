//! Models with adapters: what is exported is the user's own graph, and no note can do harm.

use fl_model::ModelOptions;
use prost::Message as _;
use serde_json::json;

use super::hostile::{linear, node};
use super::parse;
use crate::attributes::{float, int};
use crate::proto::{GraphProto, ModelProto, StringStringEntryProto};
use crate::tensor::encode_f32;
use crate::{ForwardModel, InferenceModel, Limits, Lora, lora};

fn spec(rank: u32, alpha: f32) -> Lora {
    Lora {
        rank,
        alpha,
        seed: 3,
        weights: Vec::new(),
    }
}

fn adapted(model: &ModelProto, spec: &Lora) -> Result<Vec<u8>, crate::ModelError> {
    lora(&model.encode_to_vec(), &Limits::default(), spec)
}

/// The linear model, changed.
fn changed(change: impl FnOnce(&mut GraphProto)) -> ModelProto {
    let mut model = linear();
    change(model.graph.as_mut().unwrap());
    model
}

#[test]
fn the_exported_graph_is_the_users_own_with_other_weights() {
    // 2·x·w + b, so that a change of w counts twice in y.
    let model = changed(|graph| graph.node[0].attribute = vec![float("alpha", 2.0)]);
    let bytes = adapted(&model, &spec(1, 0.5)).unwrap();
    let own = parse(&bytes).unwrap();
    let names: Vec<&str> = own
        .parameters()
        .iter()
        .map(|own| own.name.as_str())
        .collect();
    assert_eq!(names, ["w.lora_A", "w.lora_B"]);
    assert_eq!(own.frozen_numbers(), 8);
    let down = own.parameters()[0].initial.clone();
    assert!(down.iter().all(|of| of.abs() <= 1.0 / 3f32.sqrt()));
    assert_eq!(own.parameters()[1].initial, [0.0; 2]);

    let learnt = [vec![1.0, 2.0, -3.0], vec![0.5, -1.0]];
    let exported = InferenceModel::plain(&own, &learnt).unwrap().bytes;
    let graph = ModelProto::decode(&exported[..]).unwrap().graph.unwrap();
    let file = model.graph.unwrap();
    assert_eq!(graph.node, file.node);
    let names = |graph: &GraphProto| -> Vec<String> {
        let names = graph.initializer.iter().map(|own| own.name().to_owned());
        names.collect()
    };
    assert_eq!(names(&graph), names(&file));
    let merged = parse(&exported).unwrap().parameters()[0].initial.clone();
    let expected = [1.0f32, 2.0, -3.0].map(|a| [0.5, -1.0].map(|b| 0.5 + 0.5 * a * b));
    assert_eq!(merged, expected.concat());
}

#[test]
fn a_weight_that_is_used_otherwise_too_is_not_adapted() {
    let check = |expected: Option<&str>, change: &dyn Fn(&mut GraphProto)| {
        let result = adapted(&changed(change), &spec(1, 1.0));
        match (result, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message}");
            }
            (result, _) => panic!("{expected:?}: {:?}", result.map(|bytes| bytes.len())),
        }
    };
    let nothing = Some("there is nothing to adapt");
    check(None, &|_| {});
    // Twice the same way round is one adapter; once each way is none.
    let square = |graph: &mut GraphProto, transposed: i64| {
        graph.initializer[0] = encode_f32("w", &[3, 3], &[0.5; 9]);
        graph.initializer.truncate(1);
        let mut second = node("Gemm", &["h", "w"], "y");
        second.attribute = vec![int("transB", transposed)];
        graph.node = vec![node("Gemm", &["x", "w"], "h"), second];
        graph.output[0] = crate::builder::value_info(
            "y",
            &crate::shape::ValueType::f32(vec![
                crate::shape::Dim::Batch(1),
                crate::shape::Dim::Fixed(3),
            ]),
        );
    };
    check(None, &|graph| square(graph, 0));
    check(nothing, &|graph| square(graph, 1));
    check(nothing, &|graph| {
        graph.node = vec![
            node("Mul", &["w", "w"], "v"),
            node("Gemm", &["x", "v", "b"], "y"),
        ];
    });
}

#[test]
fn what_is_not_named_is_adapted_where_that_saves_numbers() {
    let model = changed(|graph| {
        let weights = [("widen", [3, 8]), ("square", [8, 8]), ("narrow", [8, 3])];
        let zeros = |sides: [u64; 2]| vec![0.0; (sides[0] * sides[1]) as usize];
        let weights = weights.map(|(name, sides)| encode_f32(name, &sides, &zeros(sides)));
        graph.initializer.extend(weights);
        let chain = [
            ["x", "widen", "p"],
            ["p", "square", "q"],
            ["q", "narrow", "r"],
        ];
        let chain = chain.map(|[x, w, y]| node("MatMul", &[x, w], y));
        graph.node[0].input[0] = "r".to_owned();
        graph.node.splice(0..0, chain);
    });
    let check = |rank: u32, expected: &[&str]| {
        let bytes = adapted(&model, &spec(rank, 1.0)).unwrap();
        let parsed = parse(&bytes).unwrap();
        let names = parsed.parameters().iter().map(|own| own.name.as_str());
        let names: Vec<&str> = names
            .filter_map(|name| name.strip_suffix(".lora_A"))
            .collect();
        assert_eq!(names, expected);
    };
    // 1·(3 + 2) < 3·2, but 2·(3 + 2) > 3·2, and so on.
    check(1, &["w", "widen", "square", "narrow"]);
    check(2, &["widen", "square", "narrow"]);
    check(3, &["square"]);
    // 4·(8 + 8) is what the weight has.
    let message = adapted(&model, &spec(4, 1.0)).unwrap_err().to_string();
    assert!(
        message.contains("at most 8, and unless weights are named at most 3"),
        "{message}"
    );
}

#[test]
fn a_graph_that_a_note_makes_too_large_is_refused() {
    let check = |count: usize, name: &str, expected: Option<&str>| {
        let names: Vec<String> = (0..count).map(|index| format!("{name}{index}")).collect();
        let mut model = changed(|graph| {
            let weights = names
                .iter()
                .map(|name| encode_f32(name, &[2, 2], &[0.5; 4]));
            graph.initializer.extend(weights);
            let mut before = "y".to_owned();
            for (index, weight) in names.iter().enumerate() {
                let after = format!("v{index}");
                graph.node.push(node("MatMul", &[&before, weight], &after));
                before = after;
            }
            graph.output[0].name = Some(before);
        });
        parse(&model.encode_to_vec()).unwrap();
        let note = json!({"rank": 1, "alpha": 1, "seed": 1, "weights": names});
        model.metadata_props.push(StringStringEntryProto {
            key: Some("tributary.lora".to_owned()),
            value: Some(note.to_string()),
        });
        match (parse(&model.encode_to_vec()), expected) {
            (Ok(own), None) => assert_eq!(own.parameters().len(), 2 * count),
            (Err(error), Some(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{message}");
                assert!(message.contains("adapt fewer weights"), "{message}");
            }
            (result, _) => panic!("{count} of {name}: {result:?}"),
        }
    };
    check(2400, "w_", None);
    let nodes = "with adapters the graph has 36001 nodes, more than 10000";
    check(9000, "w_", Some(nodes));
    let name = "bytes in one name, more than 1024";
    check(1, &"w".repeat(1020), Some(name));
}

/// A parameter that is frozen counts as it is; a weight that cannot be moved is no silent loss.
#[test]
fn what_adapters_learn_is_never_left_out() {
    let bytes = adapted(&linear(), &spec(1, 0.5)).unwrap();
    let options = ModelOptions {
        frozen: vec!["*.lora_A".to_owned()],
        ..ModelOptions::PLAIN
    };
    let own = ForwardModel::parse_with(&bytes, &Limits::default(), &options).unwrap();
    let exported = InferenceModel::plain(&own, &[vec![0.5, -1.0]])
        .unwrap()
        .bytes;
    let merged = parse(&exported).unwrap().parameters()[0].initial.clone();
    let down = parse(&bytes).unwrap().parameters()[0].initial.clone();
    let expected = down
        .iter()
        .flat_map(|a| [0.5, -1.0].map(|b| 0.5 + 0.5 * a * b));
    assert_eq!(merged, expected.collect::<Vec<f32>>());

    // A number that PyTorch's exporter has made up is not trained.
    let made_up = changed(|graph| {
        graph.initializer.push(encode_f32("val_7", &[1, 1], &[0.5]));
        graph.initializer[0] = encode_f32("w", &[3, 1], &[0.5; 3]);
        graph.node[0] = node("MatMul", &["x", "w"], "h");
        graph.node.push(node("MatMul", &["h", "val_7"], "i"));
        graph.node.push(node("Add", &["i", "b"], "y"));
    });
    let lora = Lora {
        weights: vec!["val_7".to_owned()],
        ..spec(1, 1.0)
    };
    let message = adapted(&made_up, &lora).unwrap_err().to_string();
    assert!(
        message.contains("`val_7`: has an adapter, but cannot"),
        "{message}"
    );
}

#[test]
fn a_scale_beyond_all_numbers_is_refused() {
    let check = |gemm: f32, alpha: f32, expected: Option<&str>| {
        let model = changed(|graph| graph.node[0].attribute = vec![float("alpha", gemm)]);
        match (adapted(&model, &spec(1, alpha)), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{message}");
            }
            (result, _) => panic!("{gemm} {alpha}: {result:?}"),
        }
    };
    check(1e30, 1e30, Some("too large beside the alpha"));
    check(f32::NAN, 1.0, Some("too large beside the alpha NaN"));
    // Nothing would be learnt, or what rounding leaves of it.
    check(1e-30, 1e-30, Some("too small beside the alpha"));
    check(-1e-20, 1e-20, Some("too small beside the alpha"));
    check(1e-20, 1e-10, None);
    check(0.0, 1.0, None);
}

#[test]
fn a_note_that_was_tampered_with_is_refused() {
    let check = |note: &str, expected: &str| {
        let mut model = linear();
        model.metadata_props.push(StringStringEntryProto {
            key: Some("tributary.lora".to_owned()),
            value: Some(note.to_owned()),
        });
        let message = parse(&model.encode_to_vec())
            .expect_err(expected)
            .to_string();
        assert!(message.contains(expected), "{note}: {message}");
    };
    let note = |rank: &str, alpha: &str, weights: &str| {
        format!(r#"{{"rank": {rank}, "alpha": {alpha}, "seed": 1, "weights": {weights}}}"#)
    };
    check("", "is damaged");
    check("[]", "is damaged");
    check(&note("-1", "1", "[]"), "is damaged");
    check(&note("1", "\"1\"", "[]"), "is damaged");
    check(&note("1", "1", "[7]"), "is damaged");
    check(&note("1", "1e300", "[\"w\"]"), "alpha is inf");
    check(
        &note("2", "2e-38", "[\"w\"]"),
        "neither vanish nor overflow",
    );
    check(&note("0", "1", "[\"w\"]"), "from 1 to 2");
    check(&note("3", "1", "[\"w\"]"), "from 1 to 2");
    check(&note("99999999999", "1", "[\"w\"]"), "from 1 to 2");
    check(&note("1", "1", "[\"b\"]"), "`b` cannot be adapted");
    check(&note("1", "1", "[\"w\", \"w\"]"), "`w` cannot be adapted");
    check(&note("1", "1", "[]"), "no weight left to train");
    let mut taken = linear();
    let graph = taken.graph.as_mut().unwrap();
    let own = encode_f32("w.lora_A", &[1], &[1.0]);
    graph.initializer.push(own);
    let message = adapted(&taken, &spec(1, 1.0)).unwrap_err().to_string();
    assert!(message.contains("defines `w.lora_A` twice"), "{message}");
}
