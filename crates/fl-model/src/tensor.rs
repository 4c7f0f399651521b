//! Inputs that are tensors: arrays of a device's files, or folders of images.

use std::ops::Range;

/// One input of a job's model, and how a device makes its examples.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInput {
    /// Name of the model's input.
    pub name: String,
    /// What the device has of it.
    pub source: TensorSource,
    /// What the model takes.
    pub elements: TensorElements,
}

/// Where the examples of an input lie.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorSource {
    /// A member of an `.npz`, or an `.npy` of a folder; its first dimension counts the examples.
    Array {
        /// Name of the member, or of the file without `.npy`.
        array: String,
        /// Dimensions of one example.
        dims: Vec<u64>,
    },
    /// A folder with a folder of images for each class.
    Images(ImageFolder),
}

/// Images as numbers from 0 to 255; the folder of an image says its class.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFolder {
    /// The folder that holds those of the classes, within the device's data folder.
    pub folder: String,
    /// Rows of pixels.
    pub height: u32,
    /// Columns of pixels.
    pub width: u32,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: u32,
    /// Where the channels stand.
    pub layout: ImageLayout,
    /// Whether images of other sizes are scaled to this one; otherwise they are errors.
    pub resize: bool,
}

/// The order of an image's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageLayout {
    /// `[C, H, W]`, as PyTorch takes it.
    ChannelsFirst,
    /// `[H, W, C]`, as TensorFlow takes it.
    ChannelsLast,
}

/// Type and scale of an input's elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TensorElements {
    /// float32, each `(x − mean)/deviation`, where NaN is a missing value and becomes the mean.
    Numbers(TensorScale),
    /// int64, taken as they are.
    Indices,
}

/// Which mean and which deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TensorScale {
    /// These, of every element.
    Fixed {
        /// What is taken off.
        mean: f32,
        /// What it is then divided by; not 0.
        deviation: f32,
    },
    /// Those of all devices' training examples, from the statistics round.
    Statistics {
        /// One of each for every index of this dimension of an example, counted from 0; without it one
        /// of each for all elements.
        channels: Option<u32>,
    },
}

impl TensorScale {
    /// Elements as they are.
    pub const PLAIN: Self = TensorScale::Fixed {
        mean: 0.0,
        deviation: 1.0,
    };
}

impl ImageFolder {
    /// Dimensions of one image.
    pub fn dims(&self) -> [u64; 3] {
        let [channels, height, width] = [self.channels, self.height, self.width].map(u64::from);
        match self.layout {
            ImageLayout::ChannelsFirst => [channels, height, width],
            ImageLayout::ChannelsLast => [height, width, channels],
        }
    }
}

impl TensorInput {
    /// Most inputs of a job.
    pub const COUNT_MAX: usize = 16;
    /// Most dimensions of an example.
    pub const RANK_MAX: usize = 7;
    /// Most elements of an example.
    pub const ELEMENTS_MAX: u64 = 1 << 24;
    /// Most columns of the statistics of an input.
    pub const CHANNELS_MAX: u64 = 1024;

    /// Dimensions of one example.
    pub fn dims(&self) -> Vec<u64> {
        match &self.source {
            TensorSource::Array { dims, .. } => dims.clone(),
            TensorSource::Images(images) => images.dims().to_vec(),
        }
    }

    /// Elements of one example; the largest number where they exceed it.
    pub fn elements(&self) -> u64 {
        let dims = self.dims();
        dims.iter().fold(1, |all, own| all.saturating_mul(*own))
    }

    /// Columns that it has in the statistics: none unless they scale it.
    pub fn statistics_columns(&self) -> usize {
        match self.channels() {
            Some((_, count)) => count as usize,
            None => 0,
        }
    }

    /// Where the statistics scale it: the dimension whose indices are columns, and how many these are.
    pub fn channels(&self) -> Option<(Option<usize>, u64)> {
        let TensorElements::Numbers(TensorScale::Statistics { channels }) = self.elements else {
            return None;
        };
        let axis = channels.map(|axis| axis as usize);
        let count = axis.map_or(Some(1), |axis| self.dims().get(axis).copied());
        Some((axis, count.unwrap_or(0)))
    }

    /// Why no device can follow it, or none.
    fn problem(&self) -> Option<String> {
        let (dims, name) = (self.dims(), &self.name);
        let (rank, most) = (dims.len(), Self::RANK_MAX);
        if name.is_empty() {
            return Some("an input has no name: give it that of the model's input".to_owned());
        }
        if rank > most {
            return Some(format!(
                "input {name:?} has {rank} dimensions: {most} at most"
            ));
        }
        if !(1..=Self::ELEMENTS_MAX).contains(&self.elements()) {
            let most = Self::ELEMENTS_MAX;
            return Some(format!(
                "input {name:?} is {dims:?}: every dimension must be 1 or more, and an example have {most} \
                 elements at most"
            ));
        }
        if let TensorSource::Images(images) = &self.source {
            if ![1, 3].contains(&images.channels) {
                let channels = images.channels;
                return Some(format!(
                    "the images of input {name:?} have {channels} channels: 1 is grey, 3 is colour"
                ));
            }
            if self.elements == TensorElements::Indices {
                return Some(format!("input {name:?} takes images: its type is float32"));
            }
        }
        self.scale_problem()
    }

    fn scale_problem(&self) -> Option<String> {
        let (dims, name) = (self.dims(), &self.name);
        match self.elements {
            TensorElements::Indices => None,
            TensorElements::Numbers(TensorScale::Fixed { mean, deviation }) => {
                let usable = mean.is_finite() && deviation.is_normal() && deviation > 0.0;
                (!usable).then(|| {
                    format!(
                        "the scale of input {name:?} is mean {mean} and deviation {deviation}: the deviation must be above 0"
                    )
                })
            }
            TensorElements::Numbers(TensorScale::Statistics { channels }) => {
                let axis = channels? as usize;
                let most = Self::CHANNELS_MAX;
                let fits = dims.get(axis).is_some_and(|count| *count <= most);
                (!fits).then(|| {
                    format!(
                        "channels of input {name:?} is {axis}, and an example is {dims:?}: name one of these \
                         dimensions, counted from 0, with {most} indices at most"
                    )
                })
            }
        }
    }
}

/// Which columns of the statistics belong to which of these inputs, in order.
pub fn statistics_ranges(inputs: &[TensorInput]) -> Vec<Range<usize>> {
    let mut first = 0;
    let mut next = |input: &TensorInput| {
        let from = first;
        first += input.statistics_columns();
        from..first
    };
    inputs.iter().map(&mut next).collect()
}

/// Why no device can follow these inputs, or none.
pub(crate) fn problem(inputs: &[TensorInput]) -> Option<String> {
    let (count, most) = (inputs.len(), TensorInput::COUNT_MAX);
    if !(1..=most).contains(&count) {
        return Some(format!("there are {count} inputs: 1 to {most} are allowed"));
    }
    if let Some(problem) = inputs.iter().find_map(TensorInput::problem) {
        return Some(problem);
    }
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let twice = (0..count).find(|&at| names[..at].contains(&names[at]));
    if let Some(at) = twice {
        return Some(format!("input {:?} is named twice", names[at]));
    }
    let images = |input: &TensorInput| matches!(input.source, TensorSource::Images(_));
    (count > 1 && inputs.iter().any(images)).then(|| {
        "a job takes one input of images, or any number of arrays: images and other inputs do not go together"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str, dims: &[u64], elements: TensorElements) -> TensorInput {
        TensorInput {
            name: name.to_owned(),
            source: TensorSource::Array {
                array: "a".to_owned(),
                dims: dims.to_vec(),
            },
            elements,
        }
    }

    fn images(channels: u32, layout: ImageLayout) -> TensorInput {
        TensorInput {
            name: "image".to_owned(),
            source: TensorSource::Images(ImageFolder {
                folder: "images".to_owned(),
                height: 2,
                width: 5,
                channels,
                layout,
                resize: false,
            }),
            elements: statistics(None),
        }
    }

    fn statistics(channels: Option<u32>) -> TensorElements {
        TensorElements::Numbers(TensorScale::Statistics { channels })
    }

    fn plain() -> TensorElements {
        TensorElements::Numbers(TensorScale::PLAIN)
    }

    #[test]
    fn each_scaled_channel_is_a_column() {
        let inputs = [
            array("a", &[3, 4], statistics(Some(1))),
            array("b", &[3, 4], plain()),
            array("c", &[7], statistics(None)),
            array("d", &[], TensorElements::Indices),
            images(3, ImageLayout::ChannelsLast),
        ];
        assert_eq!(statistics_ranges(&inputs), [0..4, 4..4, 4..5, 5..5, 5..6]);
        assert_eq!(inputs[0].elements(), 12);
        assert_eq!(inputs[3].elements(), 1);
        assert_eq!(inputs[4].dims(), [2, 5, 3]);
        assert_eq!(images(1, ImageLayout::ChannelsFirst).dims(), [1, 2, 5]);
    }

    #[test]
    fn what_no_device_can_follow_is_said() {
        let check = |inputs: &[TensorInput], part: Option<&str>| {
            let found = problem(inputs);
            match (&found, part) {
                (None, None) => {}
                (Some(found), Some(part)) => assert!(found.contains(part), "{found}"),
                _ => panic!("{inputs:?}: {found:?}"),
            }
        };
        let good = array("a", &[3, 4], plain());
        check(&[good.clone(), array("b", &[], plain())], None);
        check(&[images(1, ImageLayout::ChannelsFirst)], None);
        check(&[], Some("0 inputs"));
        check(&vec![good.clone(); 17], Some("17 inputs"));
        check(&[good.clone(), good.clone()], Some("twice"));
        check(&[array("", &[3], plain())], Some("no name"));
        check(&[array("a", &[3, 0], plain())], Some("[3, 0]"));
        check(
            &[array("a", &[1 << 40, 1 << 40], plain())],
            Some("elements at most"),
        );
        check(&[array("a", &[1; 8], plain())], Some("8 dimensions"));
        check(&[array("a", &[3], statistics(Some(1)))], Some("channels"));
        check(&[array("a", &[1025], statistics(Some(0)))], Some("1024"));
        let fixed =
            |mean, deviation| TensorElements::Numbers(TensorScale::Fixed { mean, deviation });
        for scale in [fixed(f32::NAN, 1.0), fixed(0.0, 0.0), fixed(0.0, -1.0)] {
            check(&[array("a", &[3], scale)], Some("deviation"));
        }
        check(&[images(2, ImageLayout::ChannelsFirst)], Some("2 channels"));
        check(
            &[good, images(1, ImageLayout::ChannelsFirst)],
            Some("one input of images"),
        );
        let indices = TensorInput {
            elements: TensorElements::Indices,
            ..images(1, ImageLayout::ChannelsFirst)
        };
        check(&[indices], Some("float32"));
    }
}
