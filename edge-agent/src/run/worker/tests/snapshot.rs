//! How long the rows of a round stay on disk.

use super::*;

const MARK: &str = "mark";

impl Device {
    fn over(&self, round: u32, phase: Phase) {
        self.worker.over(&RoundKey {
            job: self.job.job.clone(),
            round: RoundNumber(round),
            phase,
        });
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.path().join("snapshot")
    }

    /// Puts a file beside the rows that are kept, which is gone where they are written again.
    fn mark(&self) {
        assert!(self.snapshot().join("data.csv").is_file());
        fs::write(self.snapshot().join(MARK), "").unwrap();
    }

    /// Whether the rows are those that were kept when the file was put there.
    fn is_marked(&self) -> bool {
        self.snapshot().join(MARK).exists()
    }

    /// A row more, whatever its cells say.
    fn grow(&self) {
        let mut text = String::new();
        let mut reader = flate2::read::MultiGzDecoder::new(fs::File::open(&self.file).unwrap());
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let last = text.trim_end().lines().next_back().unwrap().to_owned();
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(
            &mut writer,
            format!("{}\n{last}\n", text.trim_end()).as_bytes(),
        )
        .unwrap();
        fs::write(&self.file, writer.finish().unwrap()).unwrap();
    }
}

#[test]
fn rows_that_rest_are_written_once() {
    let mut device = device(ROOM);
    device.contribution(1, Work::Statistics);
    device.mark();
    for round in 1..4 {
        device.over(round, Phase::Evaluate);
        device.contribution(round + 1, Work::Statistics);
        assert!(device.is_marked());
    }
    // A restart in a round that took over what another had kept.
    let key = device.task(4, Work::Statistics, MODEL).plan.key;
    let begun = device.sealed(&key);
    device.grow();
    device.restart();
    device.contribution(4, Work::Statistics);
    assert_eq!(device.sealed(&key), begun);
    device.contribution(5, Work::Statistics);
    let key = device.task(5, Work::Statistics, MODEL).plan.key;
    let noted = lock(&device.ledger).snapshot(&key.job, 5).cloned().unwrap();
    let grown = fl_model::Digest::of(&fs::read(&device.file).unwrap());
    assert_eq!(noted.sha256, grown.to_string());
}

#[test]
fn rows_that_were_just_written_are_taken_anew() {
    let device = device(ROOM);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(DATA), &mut text).unwrap();
    let (line, last) = text.split_at(text.rfind("\n20").unwrap());
    let other = format!("{line}{}", last.replacen('1', "2", 1));
    assert!(other.len() == text.len() && other != text);
    let noted = |round, text: &str, written: Option<SystemTime>| {
        fs::write(device.data_file(), text).unwrap();
        if let Some(written) = written {
            let file = fs::File::options().write(true).open(device.data_file());
            file.unwrap().set_modified(written).unwrap();
        }
        device.contribution(round, Work::Statistics);
        let ledger = lock(&device.ledger);
        let noted = ledger.snapshot(&device.job.job, round).cloned().unwrap();
        noted.sha256
    };
    let first = noted(1, &text, None);
    // Within one tick of the clock, in place and of the same length: nothing but the bytes tells.
    let written = fs::metadata(device.data_file()).unwrap().modified();
    assert_ne!(noted(2, &other, Some(written.unwrap())), first);
}

#[test]
fn data_that_cannot_be_used_are_not_copied_for_every_phase() {
    let device = device(ROOM);
    fs::write(device.data_file(), "time,PM2.5\n").unwrap();
    rest(device.data_file());
    let task = |round| device.task(round, Work::Statistics, MODEL);
    device.failure(&task(1));
    device.mark();
    device.failure(&task(1));
    device.failure(&task(2));
    assert!(device.is_marked());
    fs::remove_file(device.data_file()).unwrap();
    device.failure(&task(2));
    assert!(!device.snapshot().exists());
}

#[test]
fn the_rows_of_a_round_that_is_over_are_removed_where_the_next_has_others() {
    let device = device(ROOM);
    device.contribution(3, Work::Statistics);
    device.grow();
    device.over(3, Phase::Train);
    device.over(2, Phase::Evaluate);
    assert!(device.snapshot().join("data.csv").is_file());
    device.over(3, Phase::Evaluate);
    assert!(!device.snapshot().exists());
    device.contribution(4, Work::Statistics);
    assert!(device.snapshot().join("data.csv").is_file());

    let ring = with_ring(2_000);
    ring.contribution(1, Work::Statistics);
    assert!(ring.snapshot().is_dir());
    ring.over(1, Phase::Evaluate);
    assert!(
        !ring.snapshot().exists(),
        "it would hold what the ring lets go"
    );
}

#[test]
fn the_rows_of_a_job_that_is_over_are_removed() {
    let mut device = device(ROOM);
    let (job, other) = (device.job.job.clone(), JobId::new("other").unwrap());
    for (round, restarts) in [(1, false), (2, true)] {
        device.contribution(round, Work::Statistics);
        if restarts {
            device.restart();
        }
        device.worker.job_over(&other);
        assert!(device.snapshot().is_dir());
        device.worker.job_over(&job);
        assert!(!device.snapshot().exists());
    }
    // Those of a round that goes on are another job's.
    device.contribution(3, Work::Statistics);
    device.job.job = other;
    device.contribution(1, Work::Statistics);
    device.worker.job_over(&job);
    assert!(device.snapshot().is_dir());
}

#[test]
fn rows_that_no_round_needs_go_at_the_next_start() {
    let mut device = device(ROOM);
    let key = |device: &Device, round, phase| RoundKey {
        job: device.job.job.clone(),
        round: RoundNumber(round),
        phase,
    };
    for (round, phase, stays) in [
        (3, Phase::Evaluate, true),
        (4, Phase::Train, true),
        (4, Phase::Evaluate, false),
        (5, Phase::Train, false),
    ] {
        device.contribution(4, Work::Statistics);
        let (stored, last) = (
            key(&device, 4, Phase::Statistics),
            key(&device, round, phase),
        );
        let outcome = fl_model::Outcome::Counted;
        lock(&device.ledger)
            .forget(&stored, outcome, Some(&last))
            .unwrap();
        device.restart();
        device.worker.tidy();
        assert_eq!(device.snapshot().exists(), stays, "{last:?}");
    }

    // Killed before they were noted.
    let other = self::device(ROOM);
    fs::create_dir(other.snapshot()).unwrap();
    fs::write(other.snapshot().join("data.csv"), DATA).unwrap();
    other.worker.tidy();
    assert!(!other.snapshot().exists());
}

#[test]
fn rows_of_before_a_restart_are_removed_when_their_round_is_over() {
    let mut device = device(ROOM);
    device.contribution(2, Work::Statistics);
    device.restart();
    device.over(1, Phase::Evaluate);
    assert!(device.snapshot().exists());
    device.over(2, Phase::Evaluate);
    assert!(!device.snapshot().exists());
}

#[test]
fn links_of_a_ring_do_not_outlive_the_statistics() {
    let ring = with_ring(2_000);
    ring.contribution(0, Work::Statistics);
    ring.over(0, Phase::Statistics);
    assert!(!ring.snapshot().exists());
}
