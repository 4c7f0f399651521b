//! Examples of several rows: windows that are moved over the rows of a file.

use crate::data::Label;

/// Windows over rows that follow each other: one example is `length` rows, the next begins `stride` rows
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows of a window, T: 1 to [`Window::LENGTH_MAX`].
    pub length: u32,
    /// Rows from the start of one window to that of the next, at least 1; below the length they overlap.
    pub stride: u32,
    /// How the model takes it.
    pub layout: WindowLayout,
    /// What it should give.
    pub label: WindowLabel,
}

/// The order of an example's dimensions; C is the number of encoded columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLayout {
    /// `[T, C]`, as recurrent networks take it.
    TimeFirst,
    /// `[C, T]`, as PyTorch's Conv1d takes it.
    ChannelsFirst,
}

impl WindowLayout {
    /// Its name in job files and in exported models.
    pub fn name(self) -> &'static str {
        match self {
            WindowLayout::TimeFirst => "time_first",
            WindowLayout::ChannelsFirst => "channels_first",
        }
    }
}

/// Which of the rows' labels is the window's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLabel {
    /// That of the last row.
    Last,
    /// The commonest class of those rows that have a label; the lowest index of equals.
    Majority,
}

impl Window {
    /// Most rows of a window.
    pub const LENGTH_MAX: u32 = 4096;

    /// Dimensions of an example of so many columns, in the order of the layout.
    pub fn dims(&self, columns: u64) -> [u64; 2] {
        let length = u64::from(self.length);
        match self.layout {
            WindowLayout::TimeFirst => [length, columns],
            WindowLayout::ChannelsFirst => [columns, length],
        }
    }

    /// Why no device can cut it out of rows with that label, or none.
    pub fn problem(&self, label: &Label) -> Option<String> {
        let Self { length, stride, .. } = self;
        if !(1..=Self::LENGTH_MAX).contains(length) {
            let max = Self::LENGTH_MAX;
            return Some(format!("length is {length}: it must be 1 to {max} rows"));
        }
        if *stride == 0 {
            return Some("stride is 0: it must be 1 row or more".to_owned());
        }
        if self.label == WindowLabel::Majority && label.classes().is_none() {
            return Some(format!(
                "label is \"majority\", which is for classes, and {:?} is a number: say label = \"last\"",
                label.column()
            ));
        }
        None
    }
}
