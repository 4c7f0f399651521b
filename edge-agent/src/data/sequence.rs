//! Rows of one part in the order of the file, and the examples made of them: each labelled row, or windows.

use fl_model::{Label, Window, WindowLabel};

use super::columns::Answer;
use super::{Answers, Raw, Rows, Table};

/// What is kept of one part while the file is read.
#[derive(Default)]
pub(super) struct Sequence {
    /// Raw columns, row-major.
    pub(super) raw: Vec<f32>,
    answers: Vec<Option<Answer>>,
    /// How much each row counts, where the job says that they count differently.
    weights: Vec<f32>,
    /// The first row of each run: of rows that follow each other in the file.
    runs: Vec<usize>,
    /// The row of the file that would continue the last run.
    next: u64,
    /// Whether no row would.
    gap: bool,
}

impl Sequence {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Notes a row of the file, whose raw columns go to `raw`.
    pub(super) fn push(&mut self, row: u64, answer: Option<Answer>, weight: Option<f32>) {
        let is_cut = std::mem::take(&mut self.gap) || row != self.next;
        if self.runs.is_empty() || is_cut {
            self.runs.push(self.len());
        }
        self.next = row + 1;
        self.answers.push(answer);
        self.weights.extend(weight);
    }

    /// Rows are missing before the next one.
    pub(super) fn gap(&mut self) {
        self.gap = true;
    }

    /// Gives away the rows from one on, of a sequence of so many columns; a run that goes on there is two.
    pub(super) fn split_off(&mut self, at: usize, columns: usize) -> Self {
        let raw = self.raw.split_off(at * columns);
        let answers = self.answers.split_off(at);
        let weights = self.weights.split_off(at.min(self.weights.len()));
        let later = self.runs.partition_point(|&run| run < at);
        let runs = self.runs.split_off(later).into_iter().map(|run| run - at);
        let mut runs: Vec<usize> = runs.collect();
        if !answers.is_empty() && runs.first() != Some(&0) {
            runs.insert(0, 0);
        }
        Self {
            raw,
            answers,
            weights,
            runs,
            next: self.next,
            gap: self.gap,
        }
    }

    /// First row and one past the last of each run.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.runs.iter().skip(1).copied().chain([self.len()]);
        self.runs.iter().copied().zip(ends)
    }

    /// Rows of the longest run.
    pub(super) fn longest_run(&self) -> usize {
        let lengths = self.runs().map(|(first, end)| end - first);
        lengths.max().unwrap_or(0)
    }

    /// Each row as an example, with columns `columns`; rows without a label were not taken.
    pub(super) fn into_rows(self, columns: usize, label: &Label) -> Rows {
        let mut answers = Answers::none_yet(label);
        let labelled = self.answers.into_iter().flatten();
        labelled.for_each(|answer| answers.push(answer));
        let table = Table {
            columns,
            numbers: self.raw,
            weights: (!self.weights.is_empty()).then_some(self.weights),
            starts: None,
        };
        Rows {
            raw: Raw::Table(table),
            answers,
        }
    }

    /// Windows as examples, and how many were left out for want of a label. They lie within runs, the first
    /// of each at its first row.
    pub(super) fn into_windows(
        self,
        columns: usize,
        label: &Label,
        window: &Window,
    ) -> (Rows, u64) {
        let (length, stride) = (window.length as usize, window.stride as usize);
        let mut answers = Answers::none_yet(label);
        let mut starts = Vec::new();
        let mut unlabelled = 0;
        for (first, end) in self.runs() {
            for start in (first..end).step_by(stride) {
                let Some(own) = self.answers[..end].get(start..start + length) else {
                    break;
                };
                match answer(own, label, window.label) {
                    Some(answer) => {
                        starts.push(start);
                        answers.push(answer);
                    }
                    None => unlabelled += 1,
                }
            }
        }
        let last = |start: &usize| self.weights.get(start + length - 1).copied();
        let weights: Option<Vec<f32>> = starts.iter().map(last).collect();
        let table = Table {
            columns,
            numbers: self.raw,
            weights,
            starts: Some(starts),
        };
        let rows = Rows {
            raw: Raw::Table(table),
            answers,
        };
        (rows, unlabelled)
    }
}

/// The answer of a window with those of its rows; none where it is missing.
fn answer(own: &[Option<Answer>], label: &Label, rule: WindowLabel) -> Option<Answer> {
    match rule {
        WindowLabel::Last => own.last().copied().flatten(),
        WindowLabel::Majority => {
            let mut counts = vec![0u32; label.classes().unwrap_or(0)];
            for answer in own.iter().flatten() {
                if let Answer::Class(class) = answer {
                    counts[*class as usize] += 1;
                }
            }
            let most = counts.iter().max().filter(|&&most| most > 0)?;
            let class = counts.iter().position(|count| count == most)?;
            Some(Answer::Class(class as u32))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::*;

    fn window(length: u32, stride: u32, label: WindowLabel) -> Window {
        Window {
            length,
            stride,
            layout: fl_model::WindowLayout::TimeFirst,
            label,
        }
    }

    fn value() -> Label {
        Label::Value {
            column: "y".to_owned(),
        }
    }

    /// Rows of one column with these numbers in the file, each its own value and label.
    fn sequence(rows: &[u64]) -> Sequence {
        let mut sequence = Sequence::default();
        for &row in rows {
            sequence.push(row, Some(Answer::Value(row as f32)), None);
            sequence.raw.push(row as f32);
        }
        sequence
    }

    #[test]
    fn windows_lie_within_runs_of_rows_that_follow_each_other() {
        let check = |rows: &[u64], length, stride, expected: &[usize]| {
            let window = window(length, stride, WindowLabel::Last);
            let (cut, unlabelled) = sequence(rows).into_windows(1, &value(), &window);
            let table = table(&cut);
            assert_eq!(
                table.starts.as_deref(),
                Some(expected),
                "{rows:?} {window:?}"
            );
            assert_eq!(table.numbers.len(), rows.len(), "rows are kept once");
            let ends = expected.iter().map(|start| start + length as usize - 1);
            let lasts = ends.map(|end| rows[end] as f32).collect();
            assert_eq!(cut.answers, Answers::Values(lasts), "{rows:?} {window:?}");
            assert_eq!(unlabelled, 0);
        };
        let ten: Vec<u64> = (20..30).collect();
        check(&ten, 1, 1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        check(&ten, 10, 1, &[0]);
        check(&ten, 11, 1, &[]);
        check(&ten, 4, 4, &[0, 4]);
        check(&ten, 4, 2, &[0, 2, 4, 6]);
        check(&ten, 4, 3, &[0, 3, 6]);
        check(&ten, 2, 5, &[0, 5]);
        check(&ten, 2, u32::MAX, &[0]);
        let gaps = [0, 1, 2, 5, 6, 7, 8, 11];
        check(&gaps, 2, 1, &[0, 1, 3, 4, 5]);
        check(&gaps, 3, 3, &[0, 3]);
        check(&gaps, 4, 1, &[3]);
        check(&gaps, 1, 2, &[0, 2, 3, 5, 7]);
        check(&[], 1, 1, &[]);
    }

    #[test]
    fn a_split_ends_a_run() {
        let check = |rows: &[u64], at, longest: (usize, usize), later: &[usize]| {
            let mut first = sequence(rows);
            let second = first.split_off(at, 1);
            let found = (first.longest_run(), second.longest_run());
            assert_eq!(found, longest, "{rows:?} {at}");
            assert_eq!(second.runs, later, "{rows:?} {at}");
            assert_eq!(first.len(), at);
            assert_eq!(second.raw.len(), rows.len() - at);
        };
        check(&[0, 1, 2, 3], 3, (3, 1), &[0]);
        check(&[0, 1, 4, 5], 2, (2, 2), &[0]);
        check(&[0, 1, 4, 5], 1, (1, 2), &[0, 1]);
        check(&[0, 1, 2], 0, (0, 3), &[0]);
        check(&[0, 1, 2], 3, (3, 0), &[]);
    }

    #[test]
    fn a_window_takes_the_label_of_its_last_row_or_of_most() {
        let label = Label::Class {
            column: "y".to_owned(),
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        };
        let check = |rule, text: &str, expected: Option<u32>| {
            let own: Vec<Option<Answer>> = text
                .chars()
                .map(|class| class.to_digit(10).map(Answer::Class))
                .collect();
            let expected = expected.map(Answer::Class);
            assert_eq!(answer(&own, &label, rule), expected, "{rule:?} {text}");
        };
        let (last, majority) = (WindowLabel::Last, WindowLabel::Majority);
        check(last, "001", Some(1));
        check(last, "??2", Some(2));
        check(last, "11?", None);
        check(majority, "0112", Some(1));
        check(majority, "2121", Some(1));
        check(majority, "20?", Some(0));
        check(majority, "???2", Some(2));
        check(majority, "???", None);
    }

    #[test]
    fn a_window_without_a_label_is_left_out_and_counted() {
        let mut rows = sequence(&[0, 1, 2, 3, 4, 5]);
        rows.answers[3] = None;
        rows.answers[4] = None;
        let (cut, unlabelled) = rows.into_windows(1, &value(), &window(2, 1, WindowLabel::Last));
        assert_eq!(table(&cut).starts, Some(vec![0, 1, 4]));
        assert_eq!(cut.answers, Answers::Values(vec![1.0, 2.0, 5.0]));
        assert_eq!(unlabelled, 2);
        assert_eq!(table(&cut).numbers, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
