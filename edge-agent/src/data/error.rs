//! What can be wrong with a device's data file.

use std::io;

/// Why a data file cannot be used for a job. Each names the file, where it can the line and the column,
/// and what to do. Lines count from 1 with the header, rows from 0 after it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no such file.
    #[error(
        "data file {file} does not exist: set data.file to a CSV file, plain or gzip, or to the arrays or images \
         that the job asks for"
    )]
    Missing {
        /// The file.
        file: String,
    },
    /// The file cannot be read.
    #[error("cannot read data file {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file begins as gzip and does not go on so.
    #[error("{file} is damaged or cut off as a gzip file ({source}): copy or compress it again")]
    Gzip {
        /// The file.
        file: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// There is not even a header.
    #[error("{file} is empty: it must begin with a line of column names, then one row a line")]
    Empty {
        /// The file.
        file: String,
    },
    /// Bytes that are no text.
    #[error("{file}, line {line}: not UTF-8 text: save the file as UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
        /// The line.
        line: u64,
    },
    /// A column that the job needs is not there.
    #[error("{file} has no column {column:?}, which {used_for}: {hint}")]
    MissingColumn {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What the job needs it for.
        used_for: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// Two columns have the name of one that the job needs.
    #[error("{file} has more than one column {column:?}: rename all but one")]
    ColumnTwice {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
    /// A row has too few or too many cells.
    #[error(
        "{file}, line {line}: {found} cells where the header names {expected} columns: mend the line; \
         a cell with a comma in it must stand in quotes"
    )]
    Ragged {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Cells in the header.
        expected: u64,
        /// Cells in the row.
        found: u64,
    },
    /// A cell is none of what its column takes.
    #[error("{file}, line {line} (row {row}), column {column:?}: {text:?} {problem}")]
    Cell {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The row.
        row: u64,
        /// The column.
        column: String,
        /// What stands there, cut to what fits a line.
        text: String,
        /// Why it cannot stand there, and what could.
        problem: String,
    },
    /// There is a header and nothing else.
    #[error("{file} has a header but no rows: add data")]
    NoRows {
        /// The file.
        file: String,
    },
    /// A command has given nothing yet.
    #[error(
        "{file} holds no rows yet{}: this device takes part once its command has given them; the agent's \
         log says how the command fares",
        needed_text(*needed)
    )]
    NoRowsYet {
        /// The ring's folder.
        file: String,
        /// Rows without which it cannot be used, where that is known.
        needed: Option<u64>,
    },
    /// The split leaves nothing to train on, or nothing to test on.
    #[error("{file} has no {part} {examples}: {why}")]
    NoPart {
        /// The file.
        file: String,
        /// `training` or `test`.
        part: &'static str,
        /// `rows` or `windows`.
        examples: &'static str,
        /// How the rows went, and what to change.
        why: String,
    },
    /// Nothing can be learnt where every answer is the same.
    #[error("{file}: every one of the {examples} training examples is of class {class}: {remedy}")]
    OneClass {
        /// The file.
        file: String,
        /// Training examples.
        examples: usize,
        /// The only class.
        class: String,
        /// What to change.
        remedy: String,
    },
    /// The job's inputs cannot be made.
    #[error("the job's inputs cannot be made of {file}: {problem}")]
    Inputs {
        /// The file.
        file: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A file or folder is not what the job's inputs come from.
    #[error("{file} is not what the job asks for: {problem}")]
    Layout {
        /// The file or folder.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// The same for others, where it quotes a name that somebody gave a file or folder here.
        told: Option<String>,
    },
    /// An array that the job needs is not there.
    #[error(
        "{file} has no array {array:?}, which the job asks for: it has {names}; store it, or change the job"
    )]
    MissingArray {
        /// The file or folder.
        file: String,
        /// The array.
        array: String,
        /// Which there are.
        names: String,
    },
    /// An array cannot be used.
    #[error("{file}: array {array:?} {problem}")]
    Array {
        /// The file or folder.
        file: String,
        /// The array.
        array: String,
        /// What is wrong with it, without its elements.
        problem: String,
    },
    /// An image cannot be used.
    #[error("{file} {problem}")]
    Image {
        /// The folder of the images.
        folder: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The job's windows cannot be cut.
    #[error("no windows can be cut out of {file}: {problem}")]
    Window {
        /// The file.
        file: String,
        /// What is wrong with them.
        problem: String,
    },
    /// The split itself cannot be followed.
    #[error("the split of {file} cannot be followed: {problem}")]
    Split {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More than this process is willing to hold.
    #[error("{file} is too large: {what} exceeds {limit}; choose fewer rows or columns")]
    TooLarge {
        /// The file.
        file: String,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

fn needed_text(needed: Option<u64>) -> String {
    needed.map_or_else(String::new, |rows| format!(", and needs {rows}"))
}

impl DataError {
    /// Whether it is the fault of one row alone.
    pub(super) fn is_of_one_row(&self) -> bool {
        matches!(self, DataError::Cell { .. } | DataError::NotUtf8 { .. })
    }

    /// Whether nothing was read, so that it says nothing of what is in the file.
    pub(crate) fn is_of_reading(&self) -> bool {
        matches!(self, DataError::Missing { .. } | DataError::Read { .. })
    }

    /// A file or folder of which all that is wrong can be told.
    pub(super) fn layout(file: String, problem: String) -> Self {
        DataError::Layout {
            file,
            problem,
            told: None,
        }
    }

    /// The same of a ring, which grows up to `rows_max` rows and, by its split and window, is of use from
    /// `needed` on.
    pub(super) fn of_a_ring(self, needed: Option<u64>, rows_max: u64) -> Self {
        match (self, needed) {
            (DataError::NoRows { file }, needed) => DataError::NoRowsYet { file, needed },
            (
                DataError::NoPart {
                    file,
                    part,
                    examples,
                    why,
                },
                Some(needed),
            ) => {
                let what = match needed > rows_max {
                    true => format!(
                        "{needed} rows are needed and data.rows_max is {rows_max}: raise it"
                    ),
                    false => format!(
                        "from {needed} rows on that follow each other there are some: this device takes part \
                         once its command has given them"
                    ),
                };
                DataError::NoPart {
                    file,
                    part,
                    examples,
                    why: format!("{what} ({why})"),
                }
            }
            (other, _) => other,
        }
    }

    /// The error for those who look from outside: where a message quotes the file, this one does not.
    /// A file without a header shows its first row as the names of its columns.
    pub fn told(&self) -> String {
        match self {
            DataError::Cell {
                file,
                line,
                row,
                column,
                problem,
                text: _,
            } => format!("{file}, line {line} (row {row}), column {column:?}: the cell {problem}"),
            DataError::MissingColumn {
                file,
                column,
                used_for,
                hint: _,
            } => format!(
                "{file} has no column {column:?}, which {used_for}: the agent's log says which it has"
            ),
            DataError::OneClass {
                file,
                examples: _,
                class: _,
                remedy,
            } => format!("{file}: all training examples are of one class: {remedy}"),
            DataError::MissingArray {
                file,
                array,
                names: _,
            } => format!(
                "{file} has no array {array:?}, which the job asks for: the agent's log says which it has"
            ),
            DataError::Layout {
                file,
                problem: _,
                told: Some(told),
            } => format!("{file} is not what the job asks for: {told}"),
            // Images are often called after those whom they show.
            DataError::Image {
                folder,
                file: _,
                problem,
            } => format!("a file in {folder}, which the agent's log names, {problem}"),
            DataError::Missing { .. }
            | DataError::Read { .. }
            | DataError::Gzip { .. }
            | DataError::Empty { .. }
            | DataError::NotUtf8 { .. }
            | DataError::ColumnTwice { .. }
            | DataError::Ragged { .. }
            | DataError::NoRows { .. }
            | DataError::NoRowsYet { .. }
            | DataError::NoPart { .. }
            | DataError::Inputs { .. }
            | DataError::Layout { .. }
            | DataError::Array { .. }
            | DataError::Window { .. }
            | DataError::Split { .. }
            | DataError::TooLarge { .. } => self.to_string(),
        }
    }
}
