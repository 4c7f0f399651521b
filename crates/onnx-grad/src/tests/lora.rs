//! Models with adapters: what is exported is the user's own graph, and no note can do harm.

use prost::Message as _;

use super::hostile::{linear, node};
use super::parse;
use crate::attributes::{float, int};
use crate::proto::{GraphProto, ModelProto, StringStringEntryProto};
use crate::{InferenceModel, Limits, Lora, lora};

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
        graph.initializer[0] = crate::tensor::encode_f32("w", &[3, 3], &[0.5; 9]);
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
    check(&note("3", "1", "[\"w\"]"), "from 1 to 2");
    check(&note("99999999999", "1", "[\"w\"]"), "from 1 to 2");
    check(&note("1", "1", "[\"b\"]"), "`b` cannot be adapted");
    check(&note("1", "1", "[\"w\", \"w\"]"), "`w` cannot be adapted");
    check(&note("1", "1", "[]"), "no weight left to train");
    let mut taken = linear();
    let graph = taken.graph.as_mut().unwrap();
    let own = crate::tensor::encode_f32("w.lora_A", &[1], &[1.0]);
    graph.initializer.push(own);
    let message = adapted(&taken, &spec(1, 1.0)).unwrap_err().to_string();
    assert!(message.contains("defines `w.lora_A` twice"), "{message}");
}
