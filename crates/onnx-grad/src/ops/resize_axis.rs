//! Where Resize reads along one axis. ONNX Runtime computes it in float32, and so does this: at the
//! border between two elements another rounding would choose the other.

use super::resize::check_attributes;
use super::shared_axes::Matrix;
use crate::attributes::text_or;
use crate::graph::Site;

/// One axis that is resized.
pub(super) struct Along {
    pub(super) axis: usize,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) scale: f32,
}

/// Place in the input of an element of the output.
#[derive(Clone, Copy)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// What is read at a place between elements.
#[derive(Clone, Copy)]
enum Reading {
    Linear,
    Nearest(fn(f32) -> f32),
}

/// The node's modes.
pub(super) struct Places {
    coordinates: Coordinates,
    reading: Reading,
}

impl Places {
    pub(super) fn new(site: &Site<'_>) -> Result<Self, String> {
        check_attributes(site)?;
        let mode = "coordinate_transformation_mode";
        let coordinates = match text_or(site.proto, mode, "half_pixel") {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => return Err(format!("has the {mode} `{other}`, which is not supported")),
        };
        let reading = match text_or(site.proto, "mode", "nearest") {
            "linear" => Reading::Linear,
            "nearest" => Reading::Nearest(rounding(site)?),
            other => {
                return Err(format!(
                    "resizes in the mode `{other}`; supported are nearest and linear"
                ));
            }
        };
        Ok(Self {
            coordinates,
            reading,
        })
    }

    /// `[to, from]`: how much of each input element is in each output element.
    pub(super) fn matrix(&self, along: &Along) -> Option<Matrix> {
        let mut matrix = Matrix::zeros(along.to, along.from)?;
        let last = along.from - 1;
        for to in 0..along.to {
            let place = self.place(along, to);
            match self.reading {
                Reading::Nearest(round) => {
                    matrix.add(to, nearest(round, place, last), 1.0);
                }
                Reading::Linear => {
                    let place = place.clamp(0.0, last as f32);
                    let first = (place as u64).min(last);
                    let share = place - first as f32;
                    matrix.add(to, first, 1.0 - share);
                    matrix.add(to, (first + 1).min(last), share);
                }
            }
        }
        Some(matrix)
    }

    /// How many times each element is repeated, if they all are equally often and in order.
    pub(super) fn repeats(&self, along: &Along) -> Option<u64> {
        let Reading::Nearest(round) = self.reading else {
            return None;
        };
        let factor = along.to.checked_div(along.from)?;
        let last = along.from - 1;
        let in_order = |to: u64| nearest(round, self.place(along, to), last) == to / factor;
        let whole = factor > 0 && factor * along.from == along.to;
        (whole && (0..along.to).all(in_order)).then_some(factor)
    }

    fn place(&self, along: &Along, to: u64) -> f32 {
        let (at, scale) = (to as f32, along.scale);
        let (from_size, to_size) = (along.from as f32, along.to as f32);
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if along.to == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to_size / (scale * from_size);
                let offset = from_size / 2.0 * (1.0 - adjustment);
                offset + (at + 0.5) / scale - 0.5
            }
            Coordinates::AlignCorners => at * (from_size - 1.0) / (to_size - 1.0),
            Coordinates::Asymmetric => at / scale,
        }
    }
}

fn nearest(round: fn(f32) -> f32, place: f32, last: u64) -> u64 {
    (round(place).max(0.0) as u64).min(last)
}

fn rounding(site: &Site<'_>) -> Result<fn(f32) -> f32, String> {
    Ok(
        match text_or(site.proto, "nearest_mode", "round_prefer_floor") {
            "round_prefer_floor" => |place| (place - 0.5).ceil(),
            "round_prefer_ceil" => |place| (place + 0.5).floor(),
            "floor" => f32::floor,
            "ceil" => f32::ceil,
            other => {
                return Err(format!(
                    "has the nearest_mode `{other}`, which is not supported"
                ));
            }
        },
    )
}
