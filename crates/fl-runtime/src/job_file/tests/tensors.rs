//! Jobs whose inputs are arrays or images.

use fl_model::{
    ImageFolder, ImageLayout, Inputs, Label, TensorElements, TensorInput, TensorScale, TensorSource,
};

use super::super::parse;

const ARRAYS: &str = r#"
job = "digits"
model = "lenet5"
rounds = 20
quorum = 8
deadline_s = 20

[training]
loss = "softmax_cross_entropy"
learning_rate = 0.05
local_epochs = 3
batch_size = 32

[data]
inputs = [{ name = "image", array = "images", shape = [1, 8, 9] }]
label = { array = "labels", classes = ["0", "1", "2"] }
"#;

const INPUTS: &str = "[{ name = \"image\", array = \"images\", shape = [1, 8, 9] }]";
const LABEL: &str = "{ array = \"labels\", classes = [\"0\", \"1\", \"2\"] }";

fn with(inputs: &str, label: &str) -> String {
    ARRAYS.replacen(INPUTS, inputs, 1).replacen(LABEL, label, 1)
}

fn tensors(text: &str) -> Vec<TensorInput> {
    match parse(text, "job.toml").unwrap().data.inputs {
        Inputs::Tensors(tensors) => tensors,
        Inputs::Table(_) => panic!("a table"),
    }
}

#[test]
fn arrays_are_read_with_their_scale() {
    let check = |keys: &str, expected: TensorElements| {
        let input = format!("[{{ name = \"in\", array = \"x\", shape = [3, 4]{keys} }}]");
        let expected = TensorInput {
            name: "in".to_owned(),
            source: TensorSource::Array {
                array: "x".to_owned(),
                dims: vec![3, 4],
            },
            elements: expected,
        };
        assert_eq!(tensors(&with(&input, LABEL)), [expected], "{keys}");
    };
    let numbers = TensorElements::Numbers;
    check("", numbers(TensorScale::PLAIN));
    let fixed = |mean, deviation| numbers(TensorScale::Fixed { mean, deviation });
    check(", deviation = 255", fixed(0.0, 255.0));
    check(", scale = \"fixed\", mean = 0.5", fixed(0.5, 1.0));
    let statistics = |channels| numbers(TensorScale::Statistics { channels });
    check(", scale = \"statistics\"", statistics(None));
    check(
        ", scale = \"statistics\", channels = 1",
        statistics(Some(1)),
    );
    check(", type = \"int64\"", TensorElements::Indices);
}

#[test]
fn images_are_read_with_their_defaults() {
    let classes = "{ classes = [\"cat\", \"dog\"] }";
    let check = |keys: &str, expected: ImageFolder| {
        let input = format!("[{{ name = \"in\", images = {{ height = 2, width = 3{keys} }} }}]");
        let text = with(&input, classes);
        let found = tensors(&text).remove(0);
        assert_eq!(
            found.source,
            TensorSource::Images(expected.clone()),
            "{keys}"
        );
        let label = parse(&text, "job.toml").unwrap().data.label;
        let expected = Label::Class {
            column: expected.folder,
            classes: vec!["cat".to_owned(), "dog".to_owned()],
        };
        assert_eq!(label, expected);
    };
    let plain = ImageFolder {
        folder: "images".to_owned(),
        height: 2,
        width: 3,
        channels: 1,
        layout: ImageLayout::ChannelsFirst,
        resize: false,
    };
    check("", plain.clone());
    let other = ImageFolder {
        folder: "eyes".to_owned(),
        channels: 3,
        layout: ImageLayout::ChannelsLast,
        resize: true,
        ..plain
    };
    let keys = ", folder = \"eyes\", channels = 3, layout = \"channels_last\", resize = true";
    check(keys, other);
}

#[test]
fn what_is_wrong_with_inputs_is_named() {
    let check = |inputs: &str, label: &str, parts: &[&str]| {
        let refused = parse(&with(inputs, label), "job.toml").unwrap_err();
        for part in parts {
            assert!(refused.to_string().contains(part), "{part:?} in {refused}");
        }
    };
    let input = |keys: &str| format!("[{{ name = \"in\", {keys} }}]");
    let array = |keys: &str| input(&format!("array = \"x\", shape = [3]{keys}"));
    let images = |keys: &str| input(&format!("images = {{ height = 2, width = 3{keys} }}"));
    let classes = "{ classes = [\"cat\", \"dog\"] }";
    check("[]", LABEL, &["0 inputs"]);
    check(
        &input("array = \"x\""),
        LABEL,
        &["\"in\"", "array with shape"],
    );
    check(&input("shape = [3]"), LABEL, &["array with shape"]);
    check(
        &array(", images = { height = 1, width = 1 }"),
        LABEL,
        &["or images"],
    );
    check(
        &array(", channels = 0"),
        LABEL,
        &["channels", "scale = \"statistics\""],
    );
    check(
        &array(", scale = \"statistics\", mean = 1"),
        LABEL,
        &["mean", "leave it out"],
    );
    check(
        &array(", scale = \"statistics\", channels = 1"),
        LABEL,
        &["channels", "[3]"],
    );
    check(
        &array(", type = \"int64\", deviation = 2"),
        LABEL,
        &["deviation", "int64"],
    );
    check(
        &array(", type = \"int64\", scale = \"statistics\""),
        LABEL,
        &["scale", "int64"],
    );
    check(&array(", deviation = 0"), LABEL, &["deviation"]);
    check(&array(", type = \"float64\""), LABEL, &["data.inputs"]);
    check(
        &input("array = \"../x\", shape = [3]"),
        LABEL,
        &["\"../x\"", "plain name"],
    );
    check(
        &array(""),
        "{ column = \"y\", classes = [\"a\", \"b\"] }",
        &["data.label", "array"],
    );
    check(
        &array(""),
        "{ array = \"x\", classes = [\"a\", \"b\"] }",
        &["the label \"x\"", "copy"],
    );
    check(
        &array(""),
        "{ array = \"y/z\", classes = [\"a\", \"b\"] }",
        &["\"y/z\""],
    );
    let shifted = "{ array = \"y\", classes = [\"1\", \"2\"] }";
    check(&array(""), shifted, &["class \"1\" is number 0", "from 0"]);
    let same = "{ classes = [\"cat\", \"dog\", \"cat\"] }";
    check(&images(""), same, &["\"cat\" twice"]);
    check(&images(""), LABEL, &["data.label of images"]);
    check(&images(", channels = 2"), classes, &["2 channels"]);
    check(&images(""), "{ classes = [\"..\", \"dog\"] }", &["\"..\""]);
    let mixed = format!(
        "{}, {}]",
        images("").trim_end_matches(']'),
        &array("")[1..array("").len() - 1]
    );
    check(
        &mixed.replacen("in\", array", "on\", array", 1),
        classes,
        &["one input of images"],
    );
    let split = format!("{classes}\nsplit = {{ column = \"part\" }}");
    check(&images(""), &split, &["split of images"]);
    for key in [
        "clip = 5",
        "time_column = \"t\"",
        "window = { length = 2 }",
        "weight = \"w\"",
    ] {
        let own = key.split(' ').next().unwrap();
        check(INPUTS, &format!("{LABEL}\n{key}"), &[own, "data.features"]);
    }
    check(
        INPUTS,
        &format!("{LABEL}\nfeatures = [\"x\"]"),
        &["one of them"],
    );
    let neither = ARRAYS.replacen(&format!("inputs = {INPUTS}\n"), "", 1);
    let refused = parse(&neither, "job.toml").unwrap_err().to_string();
    assert!(refused.contains("one of them"), "{refused}");
}
