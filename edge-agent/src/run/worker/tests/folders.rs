//! Rounds on folders of arrays and of images that change while they are open.

use std::io::Read as _;

use image::GrayImage;

use super::*;

const ARRAYS_JOB: &str = include_str!("../../../../../config/jobs/digits.toml");
const IMAGES_JOB: &str = include_str!("../../../../../config/jobs/digits-images.toml");
const ARRAYS: &[u8] = include_bytes!("../../../../../data/digits/east/desk-1.npz");

/// A device whose data are the folder that `write` fills.
fn with_folder(job: &str, write: fn(&Path)) -> Device {
    let mut device = device(ROOM);
    device.job = job_file::parse(job, "the job").unwrap();
    device.file = device.folder.path().join("own data");
    fs::create_dir(&device.file).unwrap();
    write(&device.file);
    device.restart();
    device
}

fn arrays(folder: &Path) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(ARRAYS)).unwrap();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        fs::write(folder.join(&*member.name().unwrap()), bytes).unwrap();
    }
}

/// An image of a digit, all of one ink.
fn image(path: &Path, ink: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = GrayImage::from_pixel(8, 8, image::Luma([ink]));
    image.save(path).unwrap();
}

fn images(folder: &Path) {
    for digit in 0..10u8 {
        for number in 0..4 {
            let of_digit = folder.join(format!("images/{digit}"));
            image(&of_digit.join(format!("{number}.png")), 20 * digit + number);
        }
    }
}

#[test]
fn a_restart_in_a_round_does_not_change_the_rows_of_a_folder() {
    let check = |job: &str, write: fn(&Path), changes: &[&dyn Fn(&Path)]| {
        let mut device = with_folder(job, write);
        let task = |device: &Device, round| device.task(round, Work::Statistics, MODEL);
        device.contribution(1, Work::Statistics);
        let first = device.sealed(&task(&device, 1).plan.key);
        // The rows are the same ones wherever they are read.
        fs::remove_dir_all(device.folder.path().join("snapshot")).unwrap();
        device.restart();
        device.contribution(1, Work::Statistics);

        device.contribution(2, Work::Statistics);
        let begun = device.sealed(&task(&device, 2).plan.key);
        for change in changes {
            change(&device.file);
            device.restart();
            device.contribution(2, Work::Statistics);
            assert_eq!(device.sealed(&task(&device, 2).plan.key), begun);
        }
        let failure = device.failure(&task(&device, 3));
        assert_eq!(failure.reason, Reason::DataUnusable);
        let said = failure.detail;
        assert!(
            said.contains("own data") && !said.contains("snapshot"),
            "{said}"
        );

        if device.file.exists() {
            fs::remove_dir_all(&device.file).unwrap();
        }
        write(&device.file);
        device.contribution(3, Work::Statistics);
        let again = device.stored(&task(&device, 3).plan.key);
        device.contribution(4, Work::Statistics);
        assert_eq!(device.stored(&task(&device, 4).plan.key), again);
        assert_ne!(begun, first, "a message names its round");

        // Without what was kept, a folder that has changed is no round's that has begun.
        fs::remove_dir_all(device.folder.path().join("snapshot")).unwrap();
        changes[0](&device.file);
        device.restart();
        let failed = device.worker.perform(&task(&device, 4));
        let Done::Failed(_, failure) = failed else {
            panic!("a round goes on with other rows than it began with");
        };
        let said = failure.detail;
        assert!(
            said.contains("own data has changed since round 4"),
            "{said}"
        );
    };
    check(
        ARRAYS_JOB,
        |folder| {
            fs::create_dir_all(folder).unwrap();
            arrays(folder);
        },
        &[
            &|folder| fs::write(folder.join("images.npy"), "rewritten").unwrap(),
            &|folder| fs::write(folder.join("others.npy"), "new").unwrap(),
            &|folder| fs::remove_file(folder.join("labels.npy")).unwrap(),
            &|folder| fs::remove_dir_all(folder).unwrap(),
        ],
    );
    check(
        IMAGES_JOB,
        images,
        &[
            &|folder| image(&folder.join("images/3/1.png"), 255),
            &|folder| image(&folder.join("images/3/00.png"), 255),
            &|folder| fs::remove_file(folder.join("images/7/0.png")).unwrap(),
            &|folder| fs::remove_dir_all(folder.join("images/8")).unwrap(),
            &|folder| fs::write(folder.join("images/4/notes.txt"), "").unwrap(),
        ],
    );
}

#[test]
fn what_a_job_does_not_read_of_a_folder_is_not_kept() {
    let device = with_folder(IMAGES_JOB, |folder| {
        images(folder);
        image(&folder.join("images/3/.hidden.png"), 1);
        fs::write(folder.join("film.raw"), "").unwrap();
        fs::create_dir(folder.join("others")).unwrap();
    });
    device.contribution(1, Work::Statistics);
    let kept = device.folder.path().join("snapshot/own data");
    let names = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names(kept.clone()), ["images"]);
    assert_eq!(
        names(kept.join("images/3")),
        ["0.png", "1.png", "2.png", "3.png"]
    );
}
