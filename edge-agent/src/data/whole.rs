//! What must hold of a device's examples as a whole.

use fl_model::Label;

use super::split::Splitter;
use super::{Answers, DataError, LocalData, Rows};

/// The names of the parts.
pub(super) const TRAINING: &str = "training";
pub(super) const TEST: &str = "test";

pub(super) fn check_parts(
    file: &str,
    data: &LocalData,
    splitter: &Splitter,
    examples: &'static str,
) -> Result<(), DataError> {
    for (part, rows) in [(TRAINING, &data.train), (TEST, &data.test)] {
        if rows.is_empty() {
            let given = (data.rows_in_file, data.unlabelled, examples);
            return Err(DataError::NoPart {
                file: file.to_owned(),
                part,
                examples,
                why: splitter.why_empty(part == TRAINING, given),
            });
        }
    }
    Ok(())
}

pub(super) fn check_classes(
    file: &str,
    train: &Rows,
    label: &Label,
    examples: &str,
) -> Result<(), DataError> {
    let Answers::Classes(classes) = &train.answers else {
        return Ok(());
    };
    let Some(only) = classes
        .first()
        .filter(|first| classes.iter().all(|c| c == *first))
    else {
        return Ok(());
    };
    let class = match label {
        Label::Class { classes, .. } => format!("{:?}", classes[*only as usize]),
        Label::Above { limit, .. } if *only == 0 => format!("0 (not above {limit})"),
        Label::Above { limit, .. } => format!("1 (above {limit})"),
        Label::Value { .. } => only.to_string(),
    };
    let column = label.column();
    let remedy = match label {
        Label::Above { .. } => {
            format!("take training {examples} in which {column:?} varies, or another limit")
        }
        _ => format!("take training {examples} in which {column:?} varies"),
    };
    Err(DataError::OneClass {
        file: file.to_owned(),
        examples: classes.len(),
        class,
        remedy,
    })
}
