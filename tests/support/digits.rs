//! The shipped digits as images.

use std::path::Path;

use edge_agent::data::{self, Answers, Raw, Rows, Tensor};
use fl_runtime::job_file;
use image::GrayImage;
use xtask::demo::discover;

use crate::root;

/// Rows and columns of a digit, and the most ink of a pixel in the shipped arrays.
const SIDE: u32 = 8;
const INK_MAX: f32 = 16.0;

/// Every desk's digits as folders of PNG files, as data/make-digits.py makes them.
pub fn draw_digits(folder: &Path) {
    let job = job_file::load(&root().join("config/jobs/digits.toml")).expect("a shipped job");
    for region in discover(&root().join("data/digits")).expect("shipped data") {
        for device in region.devices {
            let data = data::load(&device.data, &job.data, None).expect("a desk's digits");
            let own = folder.join(region.id.as_str()).join(device.id.as_str());
            let mut number = 0;
            for rows in [&data.train, &data.test] {
                number = draw(rows, &own.join("images"), number);
            }
        }
    }
}

/// Draws images from a number on, and gives the next one.
fn draw(rows: &Rows, folder: &Path, mut number: usize) -> usize {
    let (Raw::Tensors(tensors), Answers::Classes(classes)) = (&rows.raw, &rows.answers) else {
        panic!("digits are arrays with classes");
    };
    let Tensor::Numbers(ink) = &tensors[0] else {
        panic!("ink is a number");
    };
    for (ink, class) in ink.chunks_exact((SIDE * SIDE) as usize).zip(classes) {
        let of_class = folder.join(class.to_string());
        std::fs::create_dir_all(&of_class).expect("a folder");
        let pixels = ink.iter().map(|ink| (ink * 255.0 / INK_MAX).round() as u8);
        let image = GrayImage::from_raw(SIDE, SIDE, pixels.collect()).expect("a square");
        image
            .save(of_class.join(format!("{number:04}.png")))
            .expect("a PNG file");
        number += 1;
    }
    number
}
