//! From what training changed to what may leave the device.

use fl_model::{FixedPoint, Privacy, ProtectedUpdate, Reason, TrainMetrics, TrainWork};
use onnx_train::LocalTraining;

use super::Failure;
use super::workshop::unsummable;

/// An update as it leaves the device, and what the device keeps of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Protected {
    /// What is sent.
    pub update: ProtectedUpdate,
    /// The figures that go with it.
    pub metrics: TrainMetrics,
    /// The update before it was rounded to the grid: clipped, with the residual in it.
    pub coordinates: Vec<Vec<f32>>,
    /// Its Euclidean norm before it was clipped.
    pub norm: f64,
}

/// Forms new − base + residual, cuts it to the plan's norm and rounds it to the plan's grid.
///
/// # Errors
/// A [`Failure`]: not finite, a weight above the plan's maximum, or tensors that are not the plan's.
pub fn protect(
    work: &TrainWork,
    base: &[Vec<f32>],
    trained: &LocalTraining,
    residual: Option<&[Vec<f32>]>,
) -> Result<Protected, Failure> {
    let weight = check_weight(work, trained.examples)?;
    let mut coordinates = difference(&trained.parameters, base);
    if let Some(residual) = residual {
        add(&mut coordinates, residual);
    }
    let norm = clip(&mut coordinates, work.clip_norm);
    let encoded = work.grid.encode(&coordinates)?;
    let total = trained.loss * trained.examples as f64;
    let loss = FixedPoint::loss(total).ok_or_else(|| {
        let detail = unsummable("sum of losses", "training", total);
        Failure::new(Reason::Diverged, detail)
    })?;
    let Privacy::Off = work.privacy;
    Ok(Protected {
        update: ProtectedUpdate::Plain {
            weight,
            q: encoded.q,
        },
        metrics: TrainMetrics {
            examples: trained.examples,
            loss,
            magnitudes: encoded.magnitudes,
            saturated: encoded.saturated,
        },
        coordinates,
        norm,
    })
}

/// The weight of a device with that many training examples: one that the fog would reject is not worth
/// the training and the bytes.
///
/// # Errors
/// A [`Failure`] with [`Reason::OverWeight`].
pub fn check_weight(work: &TrainWork, examples: u64) -> Result<u64, Failure> {
    let weight = work.weighting.weight(examples, work.weight_max);
    if weight <= work.weight_max {
        return Ok(weight);
    }
    Err(Failure::new(
        Reason::OverWeight,
        format!(
            "{examples} training rows exceed the job's weight_max {}: raise it, or let the job cap weights",
            work.weight_max
        ),
    ))
}

fn difference(new: &[Vec<f32>], base: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let tensor = |(new, base): (&Vec<f32>, &Vec<f32>)| {
        new.iter().zip(base).map(|(new, base)| new - base).collect()
    };
    new.iter().zip(base).map(tensor).collect()
}

/// Adds tensors of the same shapes, number by number.
pub(crate) fn add(to: &mut [Vec<f32>], other: &[Vec<f32>]) {
    for (to, other) in to.iter_mut().zip(other) {
        to.iter_mut()
            .zip(other)
            .for_each(|(to, other)| *to += other);
    }
}

/// Scales all tensors so that their common Euclidean norm is at most `norm_max`; returns what it was.
/// Added in the order of the coordinates, in f64: the same bits everywhere.
fn clip(tensors: &mut [Vec<f32>], norm_max: f32) -> f64 {
    let squares = tensors
        .iter()
        .flatten()
        .map(|&x| f64::from(x) * f64::from(x));
    let norm = squares.sum::<f64>().sqrt();
    let norm_max = f64::from(norm_max);
    if norm > norm_max {
        let scale = norm_max / norm;
        let scaled = |x: &mut f32| *x = (f64::from(*x) * scale) as f32;
        tensors.iter_mut().flatten().for_each(scaled);
    }
    norm
}

#[cfg(test)]
mod tests {
    use fl_model::{Grid, GridWidth, Loss, Normalization, TrainingSpec, Weighting};

    use super::*;

    fn work(clip_norm: f32) -> TrainWork {
        TrainWork {
            training: TrainingSpec {
                batch_size: 1,
                ..TrainingSpec::plain(Loss::BinaryCrossEntropy, 0.1)
            },
            normalization: Normalization {
                mean: Vec::new(),
                scale: Vec::new(),
            },
            grid: Grid::for_clip_norm(GridWidth::W32, clip_norm, 2),
            clip_norm,
            weighting: Weighting::Examples,
            weight_max: 100,
            privacy: Privacy::Off,
            seed: 1,
        }
    }

    fn trained(parameters: Vec<Vec<f32>>, examples: u64) -> LocalTraining {
        LocalTraining {
            parameters,
            examples,
            loss: 0.5,
            steps: 1,
        }
    }

    #[test]
    fn an_update_is_the_difference_and_the_residual_cut_to_the_norm() {
        let base = [vec![1.0, 1.0], vec![0.0]];
        let new = trained(vec![vec![4.0, 1.0], vec![3.0]], 10);
        let residual = [vec![0.0, 0.0], vec![1.0]];
        let check = |clip_norm: f32, expected: [f32; 3]| {
            let protected = protect(&work(clip_norm), &base, &new, Some(&residual)).unwrap();
            assert_eq!(protected.norm, 5.0);
            assert_eq!(protected.coordinates.concat(), expected);
            assert_eq!(protected.update.weight(), 10);
            assert_eq!(protected.metrics.loss, 5 << 20);
        };
        check(8.0, [3.0, 0.0, 4.0]);
        check(2.5, [1.5, 0.0, 2.0]);
    }

    #[test]
    fn what_cannot_be_counted_is_not_sent() {
        let base = [vec![0.0, 0.0], vec![0.0]];
        let check = |new: LocalTraining, reason: Reason, part: &str| {
            let failure = protect(&work(1.0), &base, &new, None).unwrap_err();
            assert_eq!(failure.reason, reason);
            assert!(failure.detail.contains(part), "{failure}");
        };
        let good = vec![vec![0.0, 0.5], vec![0.0]];
        let nan = vec![vec![0.0, f32::NAN], vec![0.0]];
        let huge = vec![vec![f32::INFINITY, 0.0], vec![0.0]];
        check(trained(nan, 1), Reason::Diverged, "not finite");
        check(trained(huge, 1), Reason::Diverged, "not finite");
        check(
            trained(good.clone(), 101),
            Reason::OverWeight,
            "weight_max 100",
        );
        check(
            trained(vec![vec![0.0]], 1),
            Reason::ModelUnusable,
            "1 tensors",
        );
        let mut no_loss = trained(good, 1);
        no_loss.loss = f64::INFINITY;
        check(no_loss, Reason::Diverged, "loss");
    }
}
