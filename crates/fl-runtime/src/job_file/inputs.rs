//! The inputs of a job's model by their names, as a job file lists them.

use fl_model::{ImageFolder, ImageLayout, TensorElements, TensorInput, TensorScale, TensorSource};
use serde::Deserialize;

/// Where images lie in a device's data folder, unless the job says otherwise.
const IMAGE_FOLDER: &str = "images";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputEntry {
    name: String,
    array: Option<String>,
    shape: Option<Vec<u64>>,
    #[serde(default, rename = "type")]
    elements: TypeName,
    images: Option<ImagesEntry>,
    #[serde(default)]
    scale: ScaleName,
    channels: Option<u32>,
    mean: Option<f32>,
    deviation: Option<f32>,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum TypeName {
    #[default]
    Float32,
    Int64,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum ScaleName {
    #[default]
    Fixed,
    Statistics,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagesEntry {
    folder: Option<String>,
    height: u32,
    width: u32,
    #[serde(default = "grey")]
    channels: u32,
    #[serde(default)]
    layout: ImageLayoutName,
    #[serde(default)]
    resize: bool,
}

fn grey() -> u32 {
    1
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum ImageLayoutName {
    #[default]
    ChannelsFirst,
    ChannelsLast,
}

/// The folder of the images, where that is what the inputs are.
pub(super) fn image_folder(inputs: &[TensorInput]) -> Option<&str> {
    inputs.iter().find_map(|input| match &input.source {
        TensorSource::Images(images) => Some(images.folder.as_str()),
        TensorSource::Array { .. } => None,
    })
}

/// The arrays that the inputs are.
pub(super) fn array_names(inputs: &[TensorInput]) -> Vec<&str> {
    let arrays = inputs.iter().map(|input| &input.source);
    arrays
        .filter_map(|source| match source {
            TensorSource::Array { array, .. } => Some(array.as_str()),
            TensorSource::Images(_) => None,
        })
        .collect()
}

impl InputEntry {
    pub(super) fn input(self) -> Result<TensorInput, String> {
        let elements = self.elements()?;
        let name = self.name;
        let source = match (self.array, self.shape, self.images) {
            (Some(array), Some(dims), None) => TensorSource::Array { array, dims },
            (None, None, Some(images)) => TensorSource::Images(images.images()),
            _ => {
                return Err(format!(
                    "data.inputs: input {name:?} takes array with shape, the dimensions of one example, or images"
                ));
            }
        };
        Ok(TensorInput {
            name,
            source,
            elements,
        })
    }

    fn elements(&self) -> Result<TensorElements, String> {
        let given = [
            ("channels", self.channels.is_some()),
            ("mean", self.mean.is_some()),
            ("deviation", self.deviation.is_some()),
        ];
        let unfit = |allowed: &[&str], why: &str| {
            let key = given
                .iter()
                .find(|(key, given)| *given && !allowed.contains(key));
            key.map_or(Ok(()), |(key, _)| {
                Err(format!(
                    "data.inputs: input {:?} has {key}, {why}",
                    self.name
                ))
            })
        };
        match (self.elements, self.scale) {
            (TypeName::Int64, ScaleName::Fixed) => {
                unfit(&[], "which is for float32: int64 is taken as it is")?;
                Ok(TensorElements::Indices)
            }
            (TypeName::Int64, ScaleName::Statistics) => Err(format!(
                "data.inputs: input {:?} has scale, which is for float32: int64 is taken as it is",
                self.name
            )),
            (TypeName::Float32, ScaleName::Fixed) => {
                unfit(
                    &["mean", "deviation"],
                    "which goes with scale = \"statistics\"",
                )?;
                Ok(TensorElements::Numbers(TensorScale::Fixed {
                    mean: self.mean.unwrap_or(0.0),
                    deviation: self.deviation.unwrap_or(1.0),
                }))
            }
            (TypeName::Float32, ScaleName::Statistics) => {
                unfit(&["channels"], "which the statistics give: leave it out")?;
                let channels = self.channels;
                Ok(TensorElements::Numbers(TensorScale::Statistics {
                    channels,
                }))
            }
        }
    }
}

impl ImagesEntry {
    fn images(self) -> ImageFolder {
        ImageFolder {
            folder: self.folder.unwrap_or_else(|| IMAGE_FOLDER.to_owned()),
            height: self.height,
            width: self.width,
            channels: self.channels,
            layout: match self.layout {
                ImageLayoutName::ChannelsFirst => ImageLayout::ChannelsFirst,
                ImageLayoutName::ChannelsLast => ImageLayout::ChannelsLast,
            },
            resize: self.resize,
        }
    }
}
