//! Examples that are tensors: arrays of an `.npz` or of a folder, or a folder of images.

mod arrays;
mod images;
mod npy;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fl_model::{DataSpec, Label, Split, TensorElements, TensorInput, TensorSource};

use super::columns::Answer;
use super::error::DataError;
use super::split::{Part, Splitter};
use super::whole::{check_classes, check_parts};
use super::{Answers, CELLS_MAX, LocalData, Raw, Rows, Tensor};

/// Reads the tensors of a job from `place`, which messages call `file`; `split` wins over the job's own.
pub(super) fn load(
    file: String,
    place: &Path,
    spec: &DataSpec,
    inputs: &[TensorInput],
    split: Option<&Split>,
) -> Result<LocalData, DataError> {
    let split = checked(&file, spec, split)?;
    let splitter = Splitter::of_examples(&file, split)?;
    let data = match inputs {
        [
            input @ TensorInput {
                source: TensorSource::Images(folder),
                ..
            },
        ] => images::load(&file, place, input, folder, &spec.label, &splitter)?,
        _ => arrays::load(&file, place, inputs, &spec.label, &splitter)?,
    };
    check_parts(&file, &data, &splitter, "examples")?;
    check_classes(&file, &data.train, &spec.label, "examples")?;
    Ok(data)
}

/// The files of a folder that a job reads, by their names in it; of arrays, whether they are there or not.
pub(super) fn files(
    folder: &Path,
    spec: &DataSpec,
    inputs: &[TensorInput],
    split: Option<&Split>,
) -> Result<Vec<PathBuf>, DataError> {
    let split = checked(&folder.display().to_string(), spec, split)?;
    if let [
        TensorInput {
            source: TensorSource::Images(images),
            ..
        },
    ] = inputs
    {
        return images::names_of(folder, images, &spec.label);
    }
    let mut arrays = BTreeSet::from([spec.label.column()]);
    if let Split::Column { column, .. } = split {
        arrays.insert(column);
    }
    arrays.extend(inputs.iter().filter_map(|input| match &input.source {
        TensorSource::Array { array, .. } => Some(array.as_str()),
        TensorSource::Images(_) => None,
    }));
    Ok(arrays.into_iter().map(store::file_of).collect())
}

/// The split that counts, of a job whose inputs can be made.
fn checked<'a>(
    file: &str,
    spec: &'a DataSpec,
    split: Option<&'a Split>,
) -> Result<&'a Split, DataError> {
    let split = split.unwrap_or(&spec.split);
    match spec.problem().or_else(|| spec.split_problem(split)) {
        None => Ok(split),
        Some(problem) => Err(DataError::Inputs {
            file: file.to_owned(),
            problem,
        }),
    }
}

/// Both parts of the examples, while they are read.
struct Parts {
    train: Rows,
    test: Rows,
}

impl Parts {
    fn new(inputs: &[TensorInput], label: &Label) -> Self {
        let empty = |input: &TensorInput| match input.elements {
            TensorElements::Numbers(_) => Tensor::Numbers(Vec::new()),
            TensorElements::Indices => Tensor::Indices(Vec::new()),
        };
        let none = || Rows {
            raw: Raw::Tensors(inputs.iter().map(empty).collect()),
            answers: Answers::none_yet(label),
        };
        Self {
            train: none(),
            test: none(),
        }
    }

    /// The rows of a part; none of examples that are not used.
    fn of(&mut self, part: Part) -> Option<&mut Rows> {
        match part {
            Part::Train => Some(&mut self.train),
            Part::Test => Some(&mut self.test),
            Part::Unused | Part::Later => None,
        }
    }
}

impl Rows {
    /// The tensor of an input; none where rows are of a table.
    fn tensor(&mut self, input: usize) -> Option<&mut Tensor> {
        match &mut self.raw {
            Raw::Tensors(tensors) => tensors.get_mut(input),
            Raw::Table(_) => None,
        }
    }
}

/// Refuses more than so many examples of that many cells each; an int64 takes two.
fn check_cells(file: &str, examples: u64, inputs: &[TensorInput]) -> Result<(), DataError> {
    let cells = inputs.iter().map(|input| match input.elements {
        TensorElements::Numbers(_) => input.elements(),
        TensorElements::Indices => input.elements().saturating_mul(2),
    });
    let each = cells.fold(1u64, u64::saturating_add);
    if examples.saturating_mul(each) <= CELLS_MAX as u64 {
        return Ok(());
    }
    Err(DataError::TooLarge {
        file: file.to_owned(),
        what: "the number of examples × elements in use",
        limit: CELLS_MAX as u64,
    })
}
