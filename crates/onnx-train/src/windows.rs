//! Examples that are windows over rows: the rows are kept once, a window is gathered when it is needed.

use std::ops::Range;

use fl_model::WindowLayout;

use crate::error::TrainError;
use crate::examples::Matrix;

/// Windows of T rows each over a table of C columns; however they overlap, they take no more memory than
/// the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    rows: Matrix,
    starts: Vec<usize>,
    length: usize,
    layout: WindowLayout,
}

impl Windows {
    /// Windows of `length` rows that begin at these rows.
    ///
    /// # Errors
    /// A window has no rows, or reaches past the last.
    pub fn new(
        rows: Matrix,
        starts: Vec<usize>,
        length: usize,
        layout: WindowLayout,
    ) -> Result<Self, TrainError> {
        let last = rows.rows().checked_sub(length).filter(|_| length > 0);
        let fits = |start: &usize| last.is_some_and(|last| *start <= last);
        if let Some(start) = starts.iter().find(|start| !fits(start)) {
            return Err(TrainError::Examples(format!(
                "a window of {length} rows cannot begin at row {start} of {}",
                rows.rows()
            )));
        }
        Ok(Self {
            rows,
            starts,
            length,
            layout,
        })
    }

    /// Number of windows.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The rows that the windows lie over.
    pub(crate) fn rows(&self) -> &Matrix {
        &self.rows
    }

    /// Numbers of one window, T·C.
    pub(crate) fn elements(&self) -> usize {
        self.length * self.rows.columns()
    }

    /// Dimensions of one window, in the order of the layout.
    pub(crate) fn dims(&self) -> [usize; 2] {
        match self.layout {
            WindowLayout::TimeFirst => [self.length, self.rows.columns()],
            WindowLayout::ChannelsFirst => [self.rows.columns(), self.length],
        }
    }

    /// Copies one window into as many numbers as it has; panics past the last window.
    pub(crate) fn gather(&self, window: usize, into: &mut [f32]) {
        let columns = self.rows.columns();
        let from = self.starts[window] * columns;
        let rows = &self.rows.data()[from..from + self.elements()];
        match self.layout {
            WindowLayout::TimeFirst => into.copy_from_slice(rows),
            WindowLayout::ChannelsFirst => {
                for (column, channel) in into.chunks_exact_mut(self.length).enumerate() {
                    let values = rows[column..].iter().step_by(columns);
                    channel
                        .iter_mut()
                        .zip(values)
                        .for_each(|(to, of)| *to = *of);
                }
            }
        }
    }

    /// A copy of some windows, one after the other.
    pub(crate) fn gathered(&self, windows: Range<usize>) -> Vec<f32> {
        let mut numbers = vec![0.0; windows.len() * self.elements()];
        let each = numbers.chunks_exact_mut(self.elements());
        each.zip(windows)
            .for_each(|(into, window)| self.gather(window, into));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(
        starts: &[usize],
        length: usize,
        layout: WindowLayout,
    ) -> Result<Windows, TrainError> {
        let rows = Matrix::new(2, (0..10).map(|number| number as f32).collect()).unwrap();
        Windows::new(rows, starts.to_vec(), length, layout)
    }

    #[test]
    fn windows_are_gathered_in_either_layout() {
        let check = |layout, starts: &[usize], dims: [usize; 2], expected: &[f32]| {
            let windows = windows(starts, 3, layout).unwrap();
            assert_eq!(windows.dims(), dims);
            assert_eq!(windows.gathered(0..starts.len()), expected, "{layout:?}");
        };
        let first = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        check(WindowLayout::TimeFirst, &[0], [3, 2], &first);
        let overlapping = [2.0, 4.0, 6.0, 3.0, 5.0, 7.0, 4.0, 6.0, 8.0, 5.0, 7.0, 9.0];
        check(WindowLayout::ChannelsFirst, &[1, 2], [2, 3], &overlapping);
        check(WindowLayout::ChannelsFirst, &[], [2, 3], &[]);
    }

    #[test]
    fn a_window_past_the_rows_is_refused() {
        let check = |starts: &[usize], length, fits: bool| {
            let windows = windows(starts, length, WindowLayout::TimeFirst);
            assert_eq!(windows.is_ok(), fits, "{starts:?} {length}");
        };
        check(&[0, 2], 3, true);
        check(&[0, 3], 3, false);
        check(&[usize::MAX], 3, false);
        check(&[0], 6, false);
        check(&[0], 0, false);
    }
}
