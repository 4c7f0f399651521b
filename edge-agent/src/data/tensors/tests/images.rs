use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fl_model::{ImageFolder, ImageLayout, TensorSource};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use tempfile::TempDir;

use super::*;

/// A folder of images: six of each class, 3 x 2 pixels, each pixel its own number.
fn images(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in names.iter().enumerate() {
        let of_class = folder.path().join("pictures").join(name);
        std::fs::create_dir_all(&of_class).unwrap();
        for index in 0..6u8 {
            let pixels = (0..6)
                .map(|pixel| 100 * class as u8 + 10 * index + pixel)
                .collect();
            let image = GrayImage::from_raw(3, 2, pixels).unwrap();
            image.save(of_class.join(format!("{index}.png"))).unwrap();
        }
    }
    folder
}

fn of_images(
    height: u32,
    width: u32,
    channels: u32,
    layout: ImageLayout,
    resize: bool,
) -> DataSpec {
    let input = TensorInput {
        name: "image".to_owned(),
        source: TensorSource::Images(ImageFolder {
            folder: "pictures".to_owned(),
            height,
            width,
            channels,
            layout,
            resize,
        }),
        elements: NUMBERS,
    };
    spec(vec![input], classes(&["cat", "dog"]))
}

pub(super) fn grey() -> DataSpec {
    of_images(2, 3, 1, ImageLayout::ChannelsFirst, false)
}

#[test]
fn images_are_split_class_by_class() {
    let folder = images(&["cat", "dog"]);
    let data = load(folder.path(), &grey()).unwrap();
    assert_eq!(
        (data.train.len(), data.test.len(), data.rows_in_file),
        (8, 4, 12)
    );
    assert_eq!(data.test.answers, Answers::Classes(vec![0, 0, 1, 1]));
    let first = |rows: &Rows| match &tensors(rows)[0] {
        Tensor::Numbers(numbers) => numbers[..6].to_vec(),
        Tensor::Indices(_) => panic!("images are numbers"),
    };
    assert_eq!(first(&data.train), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(first(&data.test), [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]);

    let rows = Split::Rows {
        train: (0, Some(1)),
        test: (5, None),
    };
    let data = load(
        folder.path(),
        &DataSpec {
            split: rows,
            ..grey()
        },
    )
    .unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 2));
    let digest = data.digest;
    let other = folder.path().join("pictures/dog/9.png");
    std::fs::rename(folder.path().join("pictures/dog/5.png"), other).unwrap();
    assert_ne!(load(folder.path(), &grey()).unwrap().digest, digest);
}

#[test]
fn colours_stand_in_the_jobs_layout_and_sizes_are_scaled_on_demand() {
    let folder = images(&["cat", "dog"]);
    let path = folder.path().join("pictures/cat/0.png");
    RgbImage::from_raw(3, 2, (0..18).collect())
        .unwrap()
        .save(path)
        .unwrap();
    let first = |spec: &DataSpec, count: usize| {
        let data = load(folder.path(), spec).unwrap();
        match &tensors(&data.train)[0] {
            Tensor::Numbers(numbers) => numbers[..count].to_vec(),
            Tensor::Indices(_) => panic!("images are numbers"),
        }
    };
    let last = of_images(2, 3, 3, ImageLayout::ChannelsLast, false);
    assert_eq!(first(&last, 4), [0.0, 1.0, 2.0, 3.0]);
    let channels_first = of_images(2, 3, 3, ImageLayout::ChannelsFirst, false);
    assert_eq!(
        first(&channels_first, 8),
        [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 1.0, 4.0]
    );
    let scaled = of_images(4, 4, 3, ImageLayout::ChannelsLast, true);
    assert_eq!(first(&scaled, 48).len(), 48);
    // A coloured image as a grey one: Rec. 709.
    let colours = [255, 0, 0, 0, 255, 0, 0, 0, 255].repeat(2);
    let path = folder.path().join("pictures/cat/0.png");
    RgbImage::from_raw(3, 2, colours)
        .unwrap()
        .save(path)
        .unwrap();
    assert_eq!(first(&grey(), 3), [54.0, 182.0, 18.0]);
    let jpeg = folder.path().join("pictures/cat/0.JPG");
    let image = DynamicImage::ImageLuma8(GrayImage::from_pixel(3, 2, image::Luma([200])));
    image.save_with_format(jpeg, ImageFormat::Jpeg).unwrap();
    std::fs::remove_file(folder.path().join("pictures/cat/0.png")).unwrap();
    let grey = first(&grey(), 6);
    assert!(
        grey.iter().all(|number| (number - 200.0).abs() < 3.0),
        "{grey:?}"
    );
}

#[test]
fn what_is_wrong_with_images_is_named() {
    let check = |change: &dyn Fn(&Path), spec: &DataSpec, parts: &[&str], told: &[&str]| {
        let folder = images(&["cat", "dog"]);
        change(&folder.path().join("pictures"));
        let error = load(folder.path(), spec).unwrap_err();
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} in {error}");
        }
        for part in told {
            assert!(!error.told().contains(part), "{part:?} in {}", error.told());
        }
    };
    let nothing = |_: &Path| {};
    let other = of_images(3, 3, 1, ImageLayout::ChannelsFirst, false);
    check(
        &nothing,
        &other,
        &["cat/0.png", "2 rows of 3", "3 of 3", "resize"],
        &["0.png"],
    );
    let broken = |folder: &Path| std::fs::write(folder.join("dog/3.png"), "no image").unwrap();
    check(&broken, &grey(), &["dog/3.png", "PNG or JPEG"], &["3.png"]);
    let cut = |folder: &Path| {
        let bytes = std::fs::read(folder.join("dog/3.png")).unwrap();
        std::fs::write(folder.join("dog/3.png"), &bytes[..40]).unwrap();
    };
    check(&cut, &grey(), &["dog/3.png"], &["3.png"]);
    let text = |folder: &Path| std::fs::write(folder.join("dog/notes.txt"), "").unwrap();
    check(
        &text,
        &grey(),
        &["dog/notes.txt is no image", ".png", "move it away"],
        &["notes"],
    );
    let left = |folder: &Path| std::fs::write(folder.join("dog/Thumbs.db"), "").unwrap();
    let parts = ["dog/Thumbs.db", "file manager", "remove it"];
    check(&left, &grey(), &parts, &["Thumbs"]);
    let hidden = |folder: &Path| std::fs::write(folder.join("dog/.DS_Store"), "").unwrap();
    let folder = images(&["cat", "dog"]);
    hidden(&folder.path().join("pictures"));
    load(folder.path(), &grey()).unwrap();
    let class = |folder: &Path| std::fs::create_dir(folder.join("cow")).unwrap();
    check(&class, &grey(), &["\"cow\"", "classes"], &["cow"]);
    let foreign = |folder: &Path| {
        let name = OsStr::from_bytes(b"dog/Jos\xe9.png");
        std::fs::write(folder.join(name), "").unwrap();
    };
    check(&foreign, &grey(), &["Jos", "not UTF-8", "rename"], &["Jos"]);
    let large = |folder: &Path| {
        let file = std::fs::File::create(folder.join("dog/3.png")).unwrap();
        file.set_len((64 << 20) + 1).unwrap();
    };
    let parts = ["dog/3.png has more than 67108864 bytes", "scale it"];
    check(&large, &grey(), &parts, &["3.png"]);
    let away = |folder: &Path| std::fs::remove_dir_all(folder.join("dog")).unwrap();
    check(&away, &grey(), &["every one", "\"cat\""], &[]);
    let file = |folder: &Path| {
        let own = folder.parent().unwrap();
        std::fs::remove_dir_all(own).unwrap();
        std::fs::write(own, "").unwrap();
    };
    check(
        &file,
        &grey(),
        &["is a file", "folder that holds pictures"],
        &[],
    );
    let none = |folder: &Path| std::fs::remove_dir_all(folder).unwrap();
    let parts = ["folder pictures does not exist", "each class", "data.file"];
    check(&none, &grey(), &parts, &[]);
    let all = |folder: &Path| std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    check(&all, &grey(), &["does not exist", "set data.file"], &[]);
    let column = Split::Column {
        column: "part".to_owned(),
        train: "a".to_owned(),
        test: "b".to_owned(),
    };
    let by_column = DataSpec {
        split: column,
        ..grey()
    };
    check(&nothing, &by_column, &["split", "images"], &[]);
}

#[test]
fn an_image_of_too_much_memory_is_refused_before_it_is_decoded() {
    let check = |height: u32, width: u32, parts: &[&str]| {
        let folder = images(&["cat", "dog"]);
        let path = folder.path().join("pictures/dog/3.png");
        let mut bytes = std::fs::read(&path).unwrap();
        // The sides in the header, and behind it their checksum.
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
        std::fs::write(path, bytes).unwrap();
        let scaled = of_images(2, 3, 1, ImageLayout::ChannelsFirst, true);
        let error = load(folder.path(), &scaled).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} in {error}");
        }
    };
    let size = "6000 rows of 6000";
    check(6000, 6000, &["dog/3.png", size, "72000000", "67108864"]);
    check(1, 8193, &["1 rows of 8193", "8192"]);
    check(0x7fff_ffff, 0x7fff_ffff, &["dog/3.png", "67108864"]);
    // Within the bound, it is decoded, and found to be cut off.
    check(5000, 5000, &["PNG or JPEG"]);
}
