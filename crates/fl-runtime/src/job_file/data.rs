//! The part of a job file that says what the examples are.

use fl_model::{
    DataSpec, Feature, FeatureSpec, Inputs, Label, Loss, Split, TableInputs, TensorInput, Window,
    WindowLabel, WindowLayout,
};
use serde::Deserialize;

use super::inputs::{InputEntry, array_names, image_folder};
use super::positive;

/// Most columns of a job's encoded input.
pub const ENCODED_COLUMNS_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    time_column: Option<String>,
    clip: Option<f32>,
    features: Option<Vec<FeatureEntry>>,
    inputs: Option<Vec<InputEntry>>,
    label: LabelEntry,
    #[serde(default)]
    split: SplitEntry,
    window: Option<WindowEntry>,
    weight: Option<String>,
}

/// Where features are cut unless the job says otherwise, in standard deviations.
const CLIP: f32 = 5.0;

#[derive(Deserialize)]
#[serde(untagged)]
enum FeatureEntry {
    Name(String),
    Table(FeatureTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureTable {
    column: String,
    period: Option<f32>,
    categories: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelEntry {
    column: Option<String>,
    array: Option<String>,
    above: Option<f64>,
    classes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowEntry {
    length: u32,
    /// The length where it is not said: windows that touch and do not overlap.
    stride: Option<u32>,
    #[serde(default)]
    layout: LayoutName,
    #[serde(default)]
    label: WindowLabelName,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum LayoutName {
    #[default]
    TimeFirst,
    ChannelsFirst,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum WindowLabelName {
    #[default]
    Last,
    Majority,
}

impl WindowEntry {
    fn window(self, label: &Label) -> Result<Window, String> {
        let window = Window {
            length: self.length,
            stride: self.stride.unwrap_or(self.length),
            layout: match self.layout {
                LayoutName::TimeFirst => WindowLayout::TimeFirst,
                LayoutName::ChannelsFirst => WindowLayout::ChannelsFirst,
            },
            label: match self.label {
                WindowLabelName::Last => WindowLabel::Last,
                WindowLabelName::Majority => WindowLabel::Majority,
            },
        };
        match window.problem(label) {
            Some(problem) => Err(format!("data.window: {problem}")),
            None => Ok(window),
        }
    }
}

/// Which rows train and which test, as a job file or a device's settings say it: `train_rows` with
/// `test_rows`, or `test_fraction`, or `column` with `train` and `test`. Without any, the last fifth tests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitEntry {
    /// First and, where it is not the file's end, one past the last training row.
    pub train_rows: Option<Vec<u64>>,
    /// First and, where it is not the file's end, one past the last test row.
    pub test_rows: Option<Vec<u64>>,
    /// Share of the rows, at the end of the file, that test.
    pub test_fraction: Option<f64>,
    /// The column that says it.
    pub column: Option<String>,
    /// Its value on training rows; `train` where it is not said.
    pub train: Option<String>,
    /// Its value on test rows; `test` where it is not said.
    pub test: Option<String>,
}

impl SplitEntry {
    /// The rule, or what is wrong with it.
    pub fn rule(&self) -> Result<Split, String> {
        let split = self.named()?;
        match split.problem() {
            Some(problem) => Err(format!("split: {problem}")),
            None => Ok(split),
        }
    }

    fn named(&self) -> Result<Split, String> {
        let ways = [
            self.train_rows.is_some() || self.test_rows.is_some(),
            self.test_fraction.is_some(),
            self.column.is_some(),
        ];
        if ways.into_iter().filter(|&way| way).count() > 1 {
            let what = "split takes one of: train_rows with test_rows; test_fraction; column";
            return Err(what.to_owned());
        }
        if let Some(column) = &self.column {
            let value = |of: &Option<String>, or: &str| of.clone().unwrap_or_else(|| or.to_owned());
            return Ok(Split::Column {
                column: column.clone(),
                train: value(&self.train, "train"),
                test: value(&self.test, "test"),
            });
        }
        if ways[0] {
            return Ok(Split::Rows {
                train: rows("train_rows", self.train_rows.as_deref())?,
                test: rows("test_rows", self.test_rows.as_deref())?,
            });
        }
        Ok(Split::Tail {
            test_fraction: self.test_fraction.unwrap_or(0.2),
        })
    }
}

fn rows(key: &str, range: Option<&[u64]>) -> Result<(u64, Option<u64>), String> {
    match range {
        Some(&[first]) => Ok((first, None)),
        Some(&[first, end]) if first < end => Ok((first, Some(end))),
        _ => Err(format!(
            "{key} must be [first] or [first, one past the last], counted from 0 after the header"
        )),
    }
}

impl Data {
    pub(super) fn spec(mut self, loss: Loss) -> Result<DataSpec, String> {
        let split = self.split.rule().map_err(|what| format!("data.{what}"))?;
        let (inputs, label) = match (self.features.take(), self.inputs.take()) {
            (Some(features), None) => self.table(features, loss)?,
            (None, Some(inputs)) => self.tensors(inputs, loss)?,
            _ => {
                return Err(
                    "data takes features, the columns of a table, or inputs, arrays or images: one of them"
                        .to_owned(),
                );
            }
        };
        let spec = DataSpec {
            inputs,
            label,
            split,
        };
        let problem = spec.problem().or_else(|| spec.split_problem(&spec.split));
        match problem {
            Some(problem) => Err(format!("data: {problem}")),
            None => Ok(spec),
        }
    }

    fn table(self, features: Vec<FeatureEntry>, loss: Loss) -> Result<(Inputs, Label), String> {
        let features: Vec<Feature> = features
            .into_iter()
            .map(FeatureEntry::feature)
            .collect::<Result<_, _>>()?;
        let features = FeatureSpec {
            features,
            clip: positive("data.clip", self.clip.unwrap_or(CLIP))?,
        };
        let width = features.encoded_width();
        if width == 0 || width > ENCODED_COLUMNS_MAX {
            return Err(format!(
                "data.features make {width} input columns: 1 to {ENCODED_COLUMNS_MAX} are allowed"
            ));
        }
        let names: Vec<&str> = features.features.iter().map(Feature::name).collect();
        let twice = names
            .iter()
            .enumerate()
            .find(|(i, name)| names[..*i].contains(name));
        if let Some((_, name)) = twice {
            return Err(format!("data.features names {name:?} twice"));
        }
        let label = self.label.of_table(loss)?;
        check_label("features", &names, &label)?;
        if let Some(weight) = &self.weight
            && (names.contains(&weight.as_str()) || label.column() == weight)
        {
            return Err(format!(
                "data.weight is {weight:?}, which is a feature or the label: a weight only says how much a row counts"
            ));
        }
        let window = self.window.map(|entry| entry.window(&label)).transpose()?;
        let table = TableInputs {
            features,
            time_column: self.time_column,
            window,
            weight: self.weight,
        };
        Ok((Inputs::Table(table), label))
    }

    fn tensors(self, inputs: Vec<InputEntry>, loss: Loss) -> Result<(Inputs, Label), String> {
        let others = [
            ("time_column", self.time_column.is_some()),
            ("clip", self.clip.is_some()),
            ("window", self.window.is_some()),
            ("weight", self.weight.is_some()),
        ];
        if let Some((key, _)) = others.iter().find(|(_, given)| *given) {
            return Err(format!(
                "data.{key} goes with data.features, and there are data.inputs"
            ));
        }
        let inputs: Vec<TensorInput> = inputs
            .into_iter()
            .map(InputEntry::input)
            .collect::<Result<_, _>>()?;
        let label = self.label.of_tensors(image_folder(&inputs), loss)?;
        check_label("inputs", &array_names(&inputs), &label)?;
        Ok((Inputs::Tensors(inputs), label))
    }
}

/// Refuses a label that is an input too.
fn check_label(key: &str, names: &[&str], label: &Label) -> Result<(), String> {
    let column = label.column();
    match names.contains(&column) {
        true => Err(format!(
            "data.{key} holds the label {column:?}: the model would just copy it"
        )),
        false => Ok(()),
    }
}

impl FeatureEntry {
    fn feature(self) -> Result<Feature, String> {
        let table = match self {
            FeatureEntry::Name(column) => return Ok(Feature::Numeric { column }),
            FeatureEntry::Table(table) => table,
        };
        let column = table.column;
        match (table.period, table.categories) {
            (None, None) => Ok(Feature::Numeric { column }),
            (Some(period), None) => Ok(Feature::Cyclic {
                period: positive(&format!("the period of feature {column:?}"), period)?,
                source: column,
            }),
            (None, Some(categories)) if !categories.is_empty() => {
                Ok(Feature::Categorical { column, categories })
            }
            (None, Some(_)) => Err(format!("the categories of feature {column:?} are empty")),
            (Some(_), Some(_)) => Err(format!(
                "feature {column:?} has a period and categories: take one"
            )),
        }
    }
}

impl LabelEntry {
    fn of_table(mut self, loss: Loss) -> Result<Label, String> {
        match (self.column.take(), &self.array) {
            (Some(column), None) => self.label(column, loss),
            _ => Err("data.label takes the column of the answers, beside data.features".to_owned()),
        }
    }

    /// Of images the label is called after their folder.
    fn of_tensors(mut self, folder: Option<&str>, loss: Loss) -> Result<Label, String> {
        match (self.array.take(), &self.column, folder) {
            (None, None, Some(folder)) => self.label(folder.to_owned(), loss),
            (Some(array), None, None) => self.label(array, loss),
            (_, _, Some(_)) => Err(
                "data.label of images is { classes = [...] }: the names of the folders that they lie in"
                    .to_owned(),
            ),
            _ => Err("data.label takes the array of the answers, beside data.inputs".to_owned()),
        }
    }

    fn label(self, column: String, loss: Loss) -> Result<Label, String> {
        let label = match (self.above, self.classes) {
            (Some(limit), None) => Label::Above { column, limit },
            (None, Some(classes)) if classes.len() >= 2 => {
                check_distinct(&classes)?;
                Label::Class { column, classes }
            }
            (None, Some(_)) => return Err("data.label.classes needs two classes or more".into()),
            (None, None) => Label::Value { column },
            (Some(_), Some(_)) => return Err("data.label takes above or classes, not both".into()),
        };
        let fits = match loss {
            Loss::BinaryCrossEntropy => label.classes() == Some(2),
            Loss::SoftmaxCrossEntropy => label.classes().is_some(),
            _ => label.classes().is_none(),
        };
        if fits {
            return Ok(label);
        }
        Err("data.label does not fit training.loss: binary_cross_entropy takes above or two classes, \
             softmax_cross_entropy takes classes, the other losses take a plain column"
            .to_owned())
    }
}

/// A class that is named twice could never be told from itself.
fn check_distinct(classes: &[String]) -> Result<(), String> {
    let twice = (0..classes.len()).find(|&at| classes[..at].contains(&classes[at]));
    match twice {
        Some(at) => Err(format!(
            "data.label.classes has {:?} twice: name each class once",
            classes[at]
        )),
        None => Ok(()),
    }
}
