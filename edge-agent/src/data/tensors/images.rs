//! Examples out of images: a folder for each class, in it one file for each example.

use std::fs::{File, read_dir};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use fl_model::{ImageFolder, ImageLayout, Label, TensorInput};
use image::imageops::{FilterType, resize};
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder as _, ImageError, ImageReader, Limits, Luma,
    Pixel, Rgb,
};
use sha2::{Digest as _, Sha256};

use super::store::{digest, read_failed};
use super::{Answer, CELLS_MAX, DataError, LocalData, Parts, Splitter, Tensor, check_cells};

/// Names of files that are images.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Files that Windows leaves in folders of images.
const FILE_MANAGERS: [&str; 2] = ["Thumbs.db", "desktop.ini"];

/// Largest file of an image, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Most rows or columns of an image before it is scaled.
const SIDE_MAX: u32 = 8_192;

/// Most bytes of an image as it is decoded, and once more in the job's channels.
const DECODED_BYTES_MAX: u64 = 64 << 20;

/// Reads the images of a job from `place`, which messages call `file`: class by class in the job's order, the
/// files of each by name. A split counts the files of each class for itself.
pub(super) fn load(
    file: &str,
    place: &Path,
    input: &TensorInput,
    images: &ImageFolder,
    label: &Label,
    splitter: &Splitter,
) -> Result<LocalData, DataError> {
    if place.is_file() {
        let problem = format!(
            "it is a file, and the job asks for images: set data.file to the folder that holds {}",
            images.folder
        );
        return Err(DataError::layout(file.to_owned(), problem));
    }
    let folder = Entry::new(Path::new(file), place).join(&images.folder);
    let classes = folders(&folder, label)?;
    let mut hash = Sha256::new();
    let mut all = Parts::new(std::slice::from_ref(input), label);
    let (mut seen, mut kept) = (0, 0);
    for (class, name) in (0u32..).zip(classes) {
        let of_class = folder.join(name);
        let files = files(&of_class)?;
        let count = files.len() as u64;
        seen += count;
        for (index, file) in (0u64..).zip(&files) {
            let Some(rows) = all.of(splitter.part_at(index, count)) else {
                continue;
            };
            kept += 1;
            check_cells(&folder.shown(), kept, std::slice::from_ref(input))?;
            let bytes = read(&of_class.place.join(file))
                .map_err(|problem| of_class.wrong(file, problem))?;
            for part in [name.as_bytes(), file.as_bytes(), &bytes] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            let numbers =
                decoded(&bytes, images).map_err(|problem| of_class.wrong(file, problem))?;
            rows.answers.push(Answer::Class(class));
            if let Some(Tensor::Numbers(into)) = rows.tensor(0) {
                into.extend(numbers);
            }
        }
    }
    Ok(LocalData {
        train: all.train,
        test: all.test,
        rows_in_file: seen,
        unlabelled: 0,
        unfit: 0,
        digest: digest(hash),
    })
}

/// The files of a job's images, by their names in a device's folder.
pub(super) fn names_of(
    place: &Path,
    images: &ImageFolder,
    label: &Label,
) -> Result<Vec<PathBuf>, DataError> {
    let folder = Entry::new(place, place).join(&images.folder);
    let mut names = Vec::new();
    for class in folders(&folder, label)? {
        let of_class = Path::new(&images.folder).join(class);
        let files = files(&folder.join(class))?;
        names.extend(files.iter().map(|file| of_class.join(file)));
    }
    Ok(names)
}

/// A file or folder, and what messages call it where it is a copy.
struct Entry {
    name: PathBuf,
    place: PathBuf,
}

impl Entry {
    fn new(name: &Path, place: &Path) -> Self {
        Self {
            name: name.to_owned(),
            place: place.to_owned(),
        }
    }

    fn join(&self, name: &str) -> Self {
        Self {
            name: self.name.join(name),
            place: self.place.join(name),
        }
    }

    fn shown(&self) -> String {
        self.name.display().to_string()
    }

    /// What is in it is not what the job asks for; `told` is the same without the names of what is there.
    fn layout(&self, problem: String, told: String) -> DataError {
        DataError::Layout {
            file: self.shown(),
            problem,
            told: Some(told),
        }
    }

    /// An image in it that cannot be used.
    fn wrong(&self, file: &str, problem: String) -> DataError {
        DataError::Image {
            folder: self.shown(),
            file: self.join(file).shown(),
            problem,
        }
    }
}

/// The names of the classes' folders, in the job's order; a folder that is no class is an error.
fn folders<'a>(folder: &Entry, label: &'a Label) -> Result<Vec<&'a str>, DataError> {
    let classes = match label {
        Label::Class { classes, .. } => &classes[..],
        _ => &[],
    };
    if !folder.place.exists() && folder.place.parent().is_some_and(Path::exists) {
        let above = folder.name.parent().unwrap_or(&folder.name);
        let problem = format!(
            "its folder {} does not exist: make it, with a folder of images for each class, or set data.file to the \
             folder that holds it",
            folder.name.file_name().unwrap_or_default().display()
        );
        return Err(DataError::layout(above.display().to_string(), problem));
    }
    let found = names(folder, Path::is_dir)?;
    if let Some(other) = found.iter().find(|name| !classes.contains(name)) {
        let why = "is none of the job's classes: move it away, or change the job's classes";
        return Err(folder.layout(
            format!("the folder {other:?} in it {why}"),
            format!("a folder in it, which the agent's log names, {why}"),
        ));
    }
    Ok(classes.iter().map(String::as_str).collect())
}

/// The names of a class's images, sorted; none where it has no folder.
fn files(folder: &Entry) -> Result<Vec<String>, DataError> {
    if !folder.place.exists() {
        return Ok(Vec::new());
    }
    let found = names(folder, |_| true)?;
    let is_image = |name: &String| {
        let path = folder.place.join(name);
        let extension = path.extension();
        let extension = extension.map(|own| own.to_string_lossy().to_lowercase());
        extension.is_some_and(|own| EXTENSIONS.contains(&own.as_str())) && path.is_file()
    };
    match found.iter().find(|name| !is_image(name)) {
        None => Ok(found),
        Some(other) => Err(folder.wrong(other, stray(other))),
    }
}

/// What is wrong with a file of that name among images, and what to do.
fn stray(name: &str) -> String {
    match FILE_MANAGERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        true => "is no image but what a file manager has left there: remove it".to_owned(),
        false => "is no image: a class's folder holds .png, .jpg and .jpeg files alone, and hidden ones are passed by; \
                  move it away"
            .to_owned(),
    }
}

/// The names in a folder of paths that are wanted, sorted, without hidden ones.
fn names(folder: &Entry, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let failed = |source| read_failed(&folder.shown(), source);
    let mut names = Vec::new();
    for entry in read_dir(&folder.place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| {
            let why = "is not UTF-8: rename it";
            folder.layout(
                format!("the name of {} {why}", name.display()),
                format!("a name in it, which the agent's log shows, {why}"),
            )
        })?;
        if !name.starts_with('.') && wanted(&entry.path()) {
            names.push(name);
        }
        if names.len() > CELLS_MAX {
            return Err(DataError::TooLarge {
                file: folder.shown(),
                what: "the number of images",
                limit: CELLS_MAX as u64,
            });
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The bytes of an image, or why they cannot be had.
fn read(place: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot be read ({error}): mend it, or move it away");
    let mut bytes = Vec::new();
    let opened = File::open(place).map_err(failed)?;
    let mut bounded = opened.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!(
            "has more than {FILE_BYTES_MAX} bytes, the most that are read of an image: scale it"
        )),
        false => Ok(bytes),
    }
}

/// The numbers of an image in the job's layout, or what is wrong with it.
fn decoded(bytes: &[u8], images: &ImageFolder) -> Result<Vec<f32>, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| undecoded(error.into()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(undecoded)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, decoder.color_type(), images.channels)?;
    if (width, height) != (images.width, images.height) && !images.resize {
        return Err(format!(
            "has {height} rows of {width} pixels, the job takes {} of {}: scale it, or say resize = true in the job",
            images.height, images.width
        ));
    }
    let image = DynamicImage::from_decoder(decoder).map_err(undecoded)?;
    Ok(match images.channels {
        1 => numbers::<Luma<u8>>(image.into_luma8(), images),
        _ => numbers::<Rgb<u8>>(image.into_rgb8(), images),
    })
}

fn undecoded(error: ImageError) -> String {
    match error {
        ImageError::Limits(_) => format!(
            "takes more than {DECODED_BYTES_MAX} bytes while it is decoded, the most that are taken: scale it"
        ),
        _ => format!("cannot be read as PNG or JPEG ({error}): mend it, or move it away"),
    }
}

/// Refuses an image that takes more memory than there is for one, before it is decoded.
fn check_size(width: u32, height: u32, colors: ColorType, channels: u32) -> Result<(), String> {
    let size = format!("has {height} rows of {width} pixels");
    if width.max(height) > SIDE_MAX {
        return Err(format!(
            "{size}, and {SIDE_MAX} rows and columns at most are read: scale it"
        ));
    }
    let each = u64::from(colors.bytes_per_pixel()) + u64::from(channels);
    let bytes = u64::from(width) * u64::from(height) * each;
    if bytes > DECODED_BYTES_MAX {
        return Err(format!(
            "{size} and takes {bytes} bytes while it is decoded, {DECODED_BYTES_MAX} at most are taken: scale it"
        ));
    }
    Ok(())
}

/// Pixels from 0 to 255, scaled to the job's size by the triangle filter where they are not of it.
fn numbers<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
    images: &ImageFolder,
) -> Vec<f32> {
    let image = match image.dimensions() == (images.width, images.height) {
        true => image,
        false => resize(&image, images.width, images.height, FilterType::Triangle),
    };
    let (channels, bytes) = (usize::from(P::CHANNEL_COUNT), image.into_raw());
    let float = |byte: &u8| f32::from(*byte);
    match images.layout {
        ImageLayout::ChannelsLast => bytes.iter().map(float).collect(),
        ImageLayout::ChannelsFirst => {
            let channel = |own| bytes.iter().skip(own).step_by(channels).map(float);
            (0..channels).flat_map(channel).collect()
        }
    }
}
