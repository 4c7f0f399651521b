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
    let check = |job: &str, write: fn(&Path), other: &dyn Fn(&Path), changes: &[&dyn Fn(&Path)]| {
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
        let declined = |device: &mut Device, part: &str| {
            device.restart();
            let failed = device.worker.perform(&task(device, 4));
            let Done::Failed(_, failure) = failed else {
                panic!("a round goes on with other rows than it began with");
            };
            assert!(failure.detail.contains(part), "{part:?} in {failure}");
        };
        other(&device.file);
        declined(&mut device, "own data has changed since round 4");
        fs::remove_dir_all(&device.file).unwrap();
        declined(&mut device, "does not exist");
    };
    check(
        ARRAYS_JOB,
        |folder| {
            fs::create_dir_all(folder).unwrap();
            arrays(folder);
        },
        &|folder| {
            let images = folder.join("images.npy");
            let mut bytes = fs::read(&images).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(images, bytes).unwrap();
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
        &|folder| image(&folder.join("images/3/1.png"), 255),
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

#[test]
fn arrays_that_are_written_while_they_are_read_are_declined() {
    let device = with_folder(ARRAYS_JOB, arrays);
    let (images, labels) = (
        device.file.join("images.npy"),
        device.file.join("labels.npy"),
    );
    let text = fs::read(&labels).unwrap();
    fs::remove_file(&labels).unwrap();
    sample::slow_file(&labels);
    let task = device.task(1, Work::Statistics, MODEL);
    let of_before = std::sync::atomic::AtomicU64::new(0);
    let write = || {
        let age = Duration::from_secs(of_before.fetch_add(1, Ordering::Relaxed));
        let file = fs::File::options().write(true).open(&images).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
    };
    let failure = sample::fed(&labels, write, || device.failure(&task));
    assert_eq!(failure.reason, Reason::DataUnusable);
    assert!(
        failure.told.contains("own data is being written"),
        "{failure}"
    );
    assert!(!device.folder.path().join("snapshot").exists());
    fs::remove_file(&labels).unwrap();
    fs::write(&labels, text).unwrap();
    device.contribution(1, Work::Statistics);
}

/// The rows of a device's folder, fixed as a round's.
fn fixed(device: &Device, round: u32) -> RoundRows {
    let mut rows = rows_of(device.folder.path(), &device.file);
    let spec = &device.job.data;
    rows.fix(&device.job.job, round, spec).unwrap();
    rows
}

#[test]
fn what_is_written_into_links_while_they_are_read_shows() {
    let check = |job: &str, write: fn(&Path), name: &str, is_seen: bool| {
        let device = with_folder(job, write);
        let rows = fixed(&device, 1);
        assert!(!rows.is_torn());
        let file = device.file.join(name);
        // One that takes its place is none that is read.
        fs::copy(&file, device.folder.path().join("other")).unwrap();
        fs::rename(device.folder.path().join("other"), &file).unwrap();
        assert!(!rows.is_torn());
        let rows = fixed(&device, 1);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        assert_eq!(rows.is_torn(), is_seen, "{name}");
    };
    check(ARRAYS_JOB, arrays, "labels.npy", false);
    check(ARRAYS_JOB, large_arrays, "labels.npy", true);
    check(IMAGES_JOB, many_images, "images/3/0.png", true);
}

/// Arrays of which one is too large to be copied.
fn large_arrays(folder: &Path) {
    arrays(folder);
    let images = fs::File::options()
        .write(true)
        .open(folder.join("images.npy"));
    images.unwrap().set_len(17 << 20).unwrap();
}

/// More images than are copied.
fn many_images(folder: &Path) {
    images(folder);
    for number in 0..64 {
        image(&folder.join(format!("images/1/more-{number}.png")), 3);
    }
}

#[test]
fn images_go_on_while_they_are_written() {
    let device = with_folder(IMAGES_JOB, many_images);
    let file = fs::File::options()
        .write(true)
        .open(device.file.join("images/3/0.png"))
        .unwrap();
    let task = device.task(1, Work::Statistics, MODEL);
    let ended = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                file.set_modified(SystemTime::now()).unwrap();
            }
        });
        let done = device.worker.perform(&task);
        ended.store(true, Ordering::Relaxed);
        done
    });
    assert!(matches!(done, Done::Stored(_)), "{done:?}");
}

#[test]
fn a_folder_behind_a_link_is_of_one_version() {
    let mut device = with_folder(ARRAYS_JOB, arrays);
    let (old, new) = (
        device.folder.path().join("old"),
        device.folder.path().join("new"),
    );
    fs::rename(&device.file, &old).unwrap();
    fs::create_dir(&new).unwrap();
    std::os::unix::fs::symlink(&old, &device.file).unwrap();
    device.restart();
    let rows = fixed(&device, 1);
    let read = |rows: &RoundRows| rows.load((0, u64::MAX), &device.job.data).unwrap().digest;
    let before = read(&rows);
    // As where nothing can be kept.
    let copy = device.folder.path().join("snapshot/own data");
    fs::remove_dir_all(copy).unwrap();
    fs::remove_file(&device.file).unwrap();
    std::os::unix::fs::symlink(&new, &device.file).unwrap();
    assert_eq!(read(&rows), before);
}

#[test]
fn what_could_not_be_kept_is_tried_again() {
    let device = with_folder(ARRAYS_JOB, arrays);
    let labels = device.file.join("labels.npy");
    fs::remove_file(&labels).unwrap();
    fs::create_dir(&labels).unwrap();
    let age = SystemTime::now() - Duration::from_secs(3_600);
    for name in ["images.npy", "labels.npy"] {
        let file = fs::File::open(device.file.join(name)).unwrap();
        file.set_modified(age).unwrap();
    }
    let mut rows = fixed(&device, 1);
    let mark = device.folder.path().join("snapshot/mark");
    fs::write(&mark, "").unwrap();
    let fixed = rows.fix(&device.job.job, 2, &device.job.data).unwrap();
    assert!(fixed.stamp.is_some(), "what was read is not read again");
    assert!(!mark.exists());
}
