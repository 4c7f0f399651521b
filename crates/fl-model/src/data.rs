//! What a job learns from, and what it learns to tell.

use crate::inputs::Inputs;
use crate::tensor::{TensorInput, TensorSource};

/// One column of raw input to the exported model, and how it is encoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Feature {
    /// A number, scaled; encoded width 1.
    Numeric {
        /// Name of the CSV column.
        column: String,
    },
    /// A number on a circle, as sine and cosine of 2πx/period; encoded width 2.
    Cyclic {
        /// Name of the CSV column, or `hour` or `month` of the time column.
        source: String,
        /// Length of the circle in units of the column: 24 for hours.
        period: f32,
    },
    /// One of a list of values, as one column each; encoded width is the list's length.
    /// Its raw value is the index in the list.
    Categorical {
        /// Name of the CSV column.
        column: String,
        /// The values in order, as they stand in the CSV.
        categories: Vec<String>,
    },
}

impl Feature {
    /// Name of the raw column.
    pub fn name(&self) -> &str {
        match self {
            Feature::Numeric { column } | Feature::Categorical { column, .. } => column,
            Feature::Cyclic { source, .. } => source,
        }
    }

    /// How many encoded columns it becomes.
    pub fn encoded_width(&self) -> usize {
        match self {
            Feature::Numeric { .. } => 1,
            Feature::Cyclic { .. } => 2,
            Feature::Categorical { categories, .. } => categories.len(),
        }
    }
}

/// The columns that make the input of a job's model, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSpec {
    /// Raw columns in order.
    pub features: Vec<Feature>,
    /// Normalised features are cut to ±clip, in standard deviations.
    pub clip: f32,
}

impl FeatureSpec {
    /// Width of the encoded input: what the job's model takes.
    pub fn encoded_width(&self) -> usize {
        self.features.iter().map(Feature::encoded_width).sum()
    }

    /// Which encoded columns stand for a category: they are neither centred nor scaled.
    pub fn one_hot(&self) -> Vec<bool> {
        let columns = |feature: &Feature| {
            let category = matches!(feature, Feature::Categorical { .. });
            std::iter::repeat_n(category, feature.encoded_width())
        };
        self.features.iter().flat_map(columns).collect()
    }
}

/// What an example's target is: of a row by a column, of tensors by an array of the same name, which for
/// classes holds their indices, and of an image by its folder.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// 1 where the column exceeds the limit, 0 otherwise; for binary cross-entropy.
    Above {
        /// Name of the column or array.
        column: String,
        /// The limit, exclusive, in the column's unit.
        limit: f64,
    },
    /// The index of the value in a list; for softmax cross-entropy, and with two classes for binary.
    Class {
        /// Name of the column or array, or of the folder of images.
        column: String,
        /// The values in order, as they stand in the CSV; of images the names of the folders.
        classes: Vec<String>,
    },
    /// The column's number; for regression.
    Value {
        /// Name of the column or array.
        column: String,
    },
}

impl Label {
    /// Name of the column, the array or the folder of images.
    pub fn column(&self) -> &str {
        match self {
            Label::Above { column, .. } | Label::Class { column, .. } | Label::Value { column } => {
                column
            }
        }
    }

    /// Number of classes; none for regression.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Label::Above { .. } => Some(2),
            Label::Class { classes, .. } => Some(classes.len()),
            Label::Value { .. } => None,
        }
    }
}

/// Which rows a device trains on and which it is tested on. Rows are counted from 0 after the header.
#[derive(Debug, Clone, PartialEq)]
pub enum Split {
    /// Half-open ranges of rows; an open end reaches to the last row.
    Rows {
        /// First and one past the last training row.
        train: (u64, Option<u64>),
        /// First and one past the last test row.
        test: (u64, Option<u64>),
    },
    /// The last `test_fraction` of the rows are the test, the others train.
    Tail {
        /// Between 0 and 1, both exclusive.
        test_fraction: f64,
    },
    /// A column says it: rows whose value is `test` are the test, rows with `train` train.
    Column {
        /// Name of the CSV column.
        column: String,
        /// Its value on training rows.
        train: String,
        /// Its value on test rows.
        test: String,
    },
}

impl Split {
    /// Why no device can follow it, or none.
    pub fn problem(&self) -> Option<String> {
        match self {
            Split::Rows { train, test } => overlap(*train, *test),
            Split::Tail { test_fraction } if !(*test_fraction > 0.0 && *test_fraction < 1.0) => {
                Some(format!(
                    "test_fraction is {test_fraction}: it must be between 0 and 1"
                ))
            }
            Split::Column { train, test, .. } if train == test => Some(format!(
                "train and test are both {train:?}: give them different values"
            )),
            _ => None,
        }
    }
}

fn overlap(train: (u64, Option<u64>), test: (u64, Option<u64>)) -> Option<String> {
    let end = |range: (u64, Option<u64>)| range.1.unwrap_or(u64::MAX);
    let both = train.0.max(test.0)..end(train).min(end(test));
    (!both.is_empty()).then(|| {
        format!(
            "row {} is both a training and a test row: let the ranges not overlap",
            both.start
        )
    })
}

/// Everything a device must know to turn its data into examples.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSpec {
    /// The inputs.
    pub inputs: Inputs,
    /// The target.
    pub label: Label,
    /// Which rows train; a device's own settings may say otherwise.
    pub split: Split,
}

impl DataSpec {
    /// Whether rows count differently.
    pub fn is_weighted(&self) -> bool {
        let table = self.inputs.table();
        table.is_some_and(|table| table.weight.is_some())
    }

    /// Why no device can make these inputs and this label, or none.
    pub fn problem(&self) -> Option<String> {
        let Inputs::Tensors(tensors) = &self.inputs else {
            return None;
        };
        let column = self.label.column();
        let problem = self.inputs.problem().or_else(|| foreign_names(tensors));
        problem.or_else(
            || match (&self.label, tensors[..].first().map(|own| &own.source)) {
                (Label::Class { classes, .. }, Some(TensorSource::Images(_))) => {
                    let strange = classes.iter().find(|name| !is_plain(name));
                    strange
                        .map(|name| format!("the class {name:?} is no name of a folder of images"))
                }
                (_, Some(TensorSource::Images(_))) => Some(
                    "the label of images is their class, which their folder says: give classes"
                        .to_owned(),
                ),
                _ if !is_plain(column) => {
                    Some(format!("the label's array {column:?} is no plain name"))
                }
                (Label::Class { classes, .. }, _) => misplaced(classes),
                _ => None,
            },
        )
    }

    /// Why these inputs cannot be split so, or none; `split` is the job's or a device's.
    pub fn split_problem(&self, split: &Split) -> Option<String> {
        let (Inputs::Tensors(tensors), Split::Column { column, .. }) = (&self.inputs, split) else {
            return None;
        };
        let images = |input: &TensorInput| matches!(input.source, TensorSource::Images(_));
        if tensors.iter().any(images) {
            let what = "the split of images is by test_fraction, or by train_rows and test_rows";
            return Some(what.to_owned());
        }
        (!is_plain(column)).then(|| format!("the split's array {column:?} is no plain name"))
    }
}

/// Whether a name leads nowhere else than into the folder or file that it is looked for in.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && ![".", ".."].contains(&name)
}

/// A source whose name is no plain one.
fn foreign_names(tensors: &[TensorInput]) -> Option<String> {
    let name = |input: &TensorInput| match &input.source {
        TensorSource::Array { array, .. } => array.clone(),
        TensorSource::Images(images) => images.folder.clone(),
    };
    let mut names = tensors.iter().map(name);
    let strange = names.find(|name| !is_plain(name))?;
    Some(format!(
        "{strange:?} is no plain name of an array or a folder"
    ))
}

/// A class that is called by a number, and stands elsewhere in the list: an array holds places in the list.
fn misplaced(classes: &[String]) -> Option<String> {
    let mut places = classes.iter().enumerate();
    let (place, name) =
        places.find(|(place, name)| name.parse().is_ok_and(|own: usize| own != *place))?;
    Some(format!(
        "class {name:?} is number {place}: an array holds the numbers of classes, from 0 in the order of the list, \
         so that a class called by a number must stand at it"
    ))
}

/// Scale of the encoded features, or of the tensors' channels, from the statistics round.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// One per encoded column; a missing value becomes it. 0 for one-hot columns.
    pub mean: Vec<f32>,
    /// One per encoded column: 1 / standard deviation. 1 for one-hot and constant columns.
    pub scale: Vec<f32>,
}
