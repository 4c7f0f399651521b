//! Examples out of arrays: each input one array, the label another.

use std::path::Path;

use fl_model::{Label, Split, TensorElements, TensorInput, TensorSource};
use sha2::Sha256;

use super::npy::Array;
use super::store::{Store, digest};
use super::{Answer, DataError, LocalData, Part, Parts, Splitter, Tensor, check_cells};

/// Most examples of an array.
const EXAMPLES_MAX: u64 = 1 << 24;

/// Reads the arrays of a job from `place`; messages name `file`.
pub(super) fn load(
    file: &str,
    place: &Path,
    inputs: &[TensorInput],
    label: &Label,
    splitter: &Splitter,
) -> Result<LocalData, DataError> {
    let (mut store, mut hash) = Store::open(file, place)?;
    let (answers, mut parts) = labelled(&mut store, &mut hash, label, splitter)?;
    let examples = answers.len() as u64;
    let chosen = parts.iter().filter(|part| **part != Part::Unused).count();
    let unused = |answer: &Option<Answer>, part: &Part| answer.is_none() && *part != Part::Unused;
    let unlabelled = answers
        .iter()
        .zip(&parts)
        .filter(|(answer, part)| unused(answer, part));
    let unlabelled = unlabelled.count() as u64;
    check_cells(file, chosen as u64 - unlabelled, inputs)?;

    let mut all = Parts::new(inputs, label);
    for (part, answer) in parts.iter_mut().zip(&answers) {
        match answer {
            None => *part = Part::Unused,
            Some(answer) => {
                if let Some(rows) = all.of(*part) {
                    rows.answers.push(*answer);
                }
            }
        }
    }
    for (index, input) in inputs.iter().enumerate() {
        let TensorSource::Array { array, dims } = &input.source else {
            continue;
        };
        let mut array = store.array(array, &mut hash)?;
        check_shape(&array, examples, dims, label)?;
        let found = read(&mut array, index, input, &parts, &mut all);
        array.finish(found)?;
    }
    Ok(LocalData {
        train: all.train,
        test: all.test,
        rows_in_file: examples,
        unlabelled,
        unfit: 0,
        digest: digest(hash),
    })
}

/// The answer of each example, none where it is missing, and what the example is for.
fn labelled(
    store: &mut Store,
    hash: &mut Sha256,
    label: &Label,
    splitter: &Splitter,
) -> Result<(Vec<Option<Answer>>, Vec<Part>), DataError> {
    let mut array = store.array(label.column(), hash)?;
    let (count, dims) = array.examples()?;
    if !matches!(dims, [] | [1]) {
        let shape = &array.shape;
        return Err(array.place.wrong(format!(
            "is {shape:?}: the label must be one number for each example, [{count}]"
        )));
    }
    if count > EXAMPLES_MAX {
        return Err(DataError::TooLarge {
            file: array.place.file,
            what: "the number of examples",
            limit: EXAMPLES_MAX,
        });
    }
    let answers = (0..count).map(|example| answer(&mut array, label, example));
    let answers = answers.collect::<Result<Vec<_>, _>>();
    let answers = array.finish(answers)?;
    let parts = match splitter.split() {
        Split::Column {
            column,
            train,
            test,
        } => named_parts(store.array(column, hash)?, count, [train, test])?,
        _ => (0..count)
            .map(|example| splitter.part_at(example, count))
            .collect(),
    };
    Ok((answers, parts))
}

fn answer(array: &mut Array<'_>, label: &Label, example: u64) -> Result<Option<Answer>, DataError> {
    if let Label::Class { classes, .. } = label {
        let class = usize::try_from(array.integer()?).ok();
        let class = class.filter(|class| *class < classes.len());
        return match class {
            Some(class) => Ok(Some(Answer::Class(class as u32))),
            // Without the number: what an error says may leave the device.
            None => Err(array.place.wrong(format!(
                "example {example} is of none of the job's {} classes: a label is the index of its class, from 0; where -1 or \
                 another number stands for no label, store the arrays without these examples",
                classes.len()
            ))),
        };
    }
    let number = array.number()?;
    Ok(match label {
        _ if number.is_nan() => None,
        Label::Above { limit, .. } => Some(Answer::Class(u32::from(number > *limit))),
        _ => Some(Answer::Value(number as f32)),
    })
}

/// What each example is for by an array of integers that says it.
fn named_parts(
    mut array: Array<'_>,
    count: u64,
    [train, test]: [&String; 2],
) -> Result<Vec<Part>, DataError> {
    if array.examples()? != (count, &[]) {
        let shape = &array.shape;
        return Err(array.place.wrong(format!(
            "is {shape:?}: what says which examples train and test must be one integer for each, [{count}]"
        )));
    }
    let part = |_| {
        let value = array.integer()?.to_string();
        Ok(match &value {
            value if value == train => Part::Train,
            value if value == test => Part::Test,
            _ => Part::Unused,
        })
    };
    let parts = (0..count).map(part).collect();
    array.finish(parts)
}

fn check_shape(
    array: &Array<'_>,
    examples: u64,
    dims: &[u64],
    label: &Label,
) -> Result<(), DataError> {
    let (count, own) = array.examples()?;
    if own != dims {
        let shape = &array.shape;
        return Err(array.place.wrong(format!(
            "is {shape:?}, so that an example is {own:?}; the job takes {dims:?}: store it in that shape \
             (numpy.reshape), or change shape in the job's inputs"
        )));
    }
    if count != examples {
        return Err(array.place.wrong(format!(
            "has {count} examples and {:?} has {examples}: they must be as many",
            label.column()
        )));
    }
    Ok(())
}

/// Reads the examples that are used.
fn read(
    array: &mut Array<'_>,
    index: usize,
    input: &TensorInput,
    parts: &[Part],
    all: &mut Parts,
) -> Result<(), DataError> {
    let elements = input.elements();
    for (example, part) in parts.iter().enumerate() {
        let mut rows = all.of(*part);
        let mut tensor = rows.as_mut().and_then(|rows| rows.tensor(index));
        for _ in 0..elements {
            match (input.elements, &mut tensor) {
                (TensorElements::Indices, Some(Tensor::Indices(into))) => {
                    into.push(array.integer()?)
                }
                (_, Some(Tensor::Numbers(into))) => into.push(finite(array, example)?),
                _ => {
                    array.number()?;
                }
            }
        }
    }
    Ok(())
}

/// The next number as the model takes it; NaN is a missing value.
fn finite(array: &mut Array<'_>, example: usize) -> Result<f32, DataError> {
    let number = array.number()? as f32;
    if number.is_infinite() {
        return Err(array.place.wrong(format!(
            "example {example} has a number that is infinite or beyond float32: use another unit"
        )));
    }
    Ok(number)
}
