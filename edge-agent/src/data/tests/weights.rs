//! What rows count.

use super::*;

#[test]
fn a_weight_goes_with_its_row_or_with_the_last_of_its_window() {
    let text = "x,y,w\n1,1,2\n2,2,0\n3,,9\n4,4,0.5\n5,5,1e3\n6,6,1\n";
    let mut spec = DataSpec {
        inputs: Inputs::Table(TableInputs {
            features: FeatureSpec {
                features: vec![numeric("x")],
                clip: 5.0,
            },
            time_column: None,
            window: None,
            weight: Some("w".to_owned()),
        }),
        label: Label::Value {
            column: "y".to_owned(),
        },
        split: Split::Tail { test_fraction: 0.3 },
    };
    let data = read(text.as_bytes(), &spec).unwrap();
    assert_eq!(table(&data.train).weights, Some(vec![2.0, 0.0, 0.5]));
    assert_eq!(table(&data.test).weights, Some(vec![1e3, 1.0]));
    for wrong in ["-1", "", "much", "2e9"] {
        let text = text.replacen("4,4,0.5", &format!("4,4,{wrong}"), 1);
        check_error(text.as_bytes(), &spec, &["line 5", "\"w\"", "weight"]);
    }
    // What tests needs none, however the job splits.
    for split in [
        Split::Tail { test_fraction: 0.3 },
        Split::Rows {
            train: (0, Some(4)),
            test: (4, None),
        },
    ] {
        spec.split = split;
        for without in ["5,5,\n6,6,\n", "5,5,much\n6,6,1\n"] {
            let text = text.replacen("5,5,1e3\n6,6,1\n", without, 1);
            let data = read(text.as_bytes(), &spec).unwrap();
            assert_eq!(table(&data.train).weights, Some(vec![2.0, 0.0, 0.5]));
            assert_eq!(data.test.len(), 2);
        }
        let text = text
            .replacen("4,4,0.5", "4,4,", 1)
            .replacen("6,6,1", "6,6,", 1);
        check_error(text.as_bytes(), &spec, &["line 5", "\"w\"", "weight"]);
    }
    spec.split = Split::Tail { test_fraction: 0.3 };
    check_error(
        b"x,y\n1,1\n",
        &spec,
        &["no column \"w\"", "is the job's weight"],
    );
    inputs(&mut spec).window = Some(Window {
        length: 2,
        stride: 1,
        layout: WindowLayout::TimeFirst,
        label: WindowLabel::Last,
    });
    let data = read(text.as_bytes(), &spec).unwrap();
    assert_eq!(table(&data.train).weights, Some(vec![0.0, 0.5]));
    inputs(&mut spec).weight = None;
    let data = read(text.as_bytes(), &spec).unwrap();
    assert_eq!(table(&data.train).weights, None);
}
