//! How fast a fog adds contributions up, against what memory gives on the same machine.

use std::hint::black_box;

use fl_aggregate::ExactSum;
use fl_model::{GridWidth, Payload, ProtectedUpdate, TrainMetrics};

use crate::report::{Report, Row, median};

/// Coordinates of the models that are summed: in cache, and far out of it.
const COORDINATES: [usize; 3] = [10_000, 1_663_370, 20_000_000];

/// Contributions that are added in one measurement.
const CONTRIBUTIONS: u64 = 4;

/// Contributions that the sum leaves room for.
const CONTRIBUTIONS_MAX: u32 = 1_000;

/// Examples of each device.
const WEIGHT: u64 = 1440;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    for coordinates in COORDINATES {
        let payload = Payload::Update {
            update: ProtectedUpdate::Plain {
                weight: WEIGHT,
                q: vec![
                    (0..coordinates as i32)
                        .map(|i| i * 7919 % 1_000_003)
                        .collect(),
                ],
            },
            metrics: TrainMetrics {
                examples: WEIGHT,
                loss: 1,
                magnitudes: vec![0],
                saturated: vec![0],
            },
        };
        let mut sum =
            ExactSum::of_updates(GridWidth::W32, WEIGHT, CONTRIBUTIONS_MAX, &[coordinates]);
        let adding = median(|| {
            for _ in 0..CONTRIBUTIONS {
                sum.add(&payload)?;
            }
            Ok(())
        })?;
        // An addition reads 4 bytes of the contribution, and reads and writes 8 of the sum; what memory
        // gives is measured by a loop of the same traffic that does nothing else.
        let (source, mut target) = (vec![1i32; coordinates], vec![0i64; coordinates]);
        let copying = median(|| {
            for _ in 0..CONTRIBUTIONS {
                for (to, &from) in target.iter_mut().zip(&source) {
                    *to = to.wrapping_add(i64::from(from));
                }
                black_box(&mut target);
            }
            Ok(())
        })?;
        let gigabytes = (coordinates as u64 * CONTRIBUTIONS * 20) as f64 / 1e9;
        let (adding, copying) = (adding.as_secs_f64(), copying.as_secs_f64());
        report.add(
            Row::new("exact sum")
                .parameter("coordinates", coordinates as u64)
                .figure("throughput", gigabytes / adding, "GB/s")
                .figure("memory bandwidth", gigabytes / copying, "GB/s")
                .ratio("throughput / memory bandwidth", copying / adding),
        );
    }
    Ok(())
}
