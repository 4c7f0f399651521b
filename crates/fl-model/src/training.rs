//! What a device is asked to minimise, and how: the hyper-parameters of local training.

/// The loss that a training graph minimises, averaged over the examples of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Softmax and negative log-likelihood over logits `[N, C]`, targets class indices `[N]`.
    SoftmaxCrossEntropy,
    /// Sigmoid and binary cross-entropy over logits `[N, 1]` or `[N]`, targets 0 or 1.
    BinaryCrossEntropy,
    /// Mean of squared differences over all elements of the output.
    MeanSquaredError,
    /// Mean of absolute differences over all elements of the output.
    MeanAbsoluteError,
    /// Huber, "Robust Estimation of a Location Parameter" (1964): quadratic within `delta`, linear outside.
    Huber {
        /// Where the loss turns from quadratic to linear, in units of the target.
        delta: f32,
    },
}

impl Loss {
    /// Whether targets are classes, so that accuracy and a confusion matrix make sense.
    pub fn is_classification(self) -> bool {
        matches!(self, Loss::SoftmaxCrossEntropy | Loss::BinaryCrossEntropy)
    }
}

/// The optimiser that runs on the device. Its state lives for one round only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LocalOptimizer {
    /// Stochastic gradient descent: `v ← momentum·v + g`, `w ← w − learning_rate·v`.
    Sgd {
        /// 0 is plain SGD.
        momentum: f32,
        /// Looks ahead by one step: `w ← w − learning_rate·(g + momentum·v)` (Sutskever et al. 2013).
        nesterov: bool,
    },
    /// Kingma and Ba, "Adam" (2015), algorithm 1, with bias correction.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Weight decay beside the gradient, not in it: `w ← w − learning_rate·(step + λ·w)`, AdamW
        /// (Loshchilov and Hutter 2019).
        decoupled: bool,
    },
}

impl LocalOptimizer {
    /// Descent without momentum.
    pub const SGD: Self = Self::Sgd {
        momentum: 0.0,
        nesterov: false,
    };
}

/// How the learning rate goes over the training rounds of a job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Rounds at the start over which the rate rises evenly to its full size; 0 for none.
    pub warmup_rounds: u32,
    /// What follows.
    pub decay: Decay,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// Multiplied by `factor` after every so many rounds.
    Step {
        /// Rounds between two falls; at least 1.
        every: u32,
        /// What each multiplies the rate by.
        factor: f32,
    },
    /// Evenly towards this share of the rate, which it would have one round after the last.
    Linear {
        /// Share that is left.
        end: f32,
    },
    /// Along half a cosine towards this share of the rate, as above (Loshchilov and Hutter 2017,
    /// equation 5, without restarts).
    Cosine {
        /// Share that is left.
        end: f32,
    },
}

impl Schedule {
    /// The learning rate in training round `round`, counted from 0, of `rounds`, where it is `full` at its
    /// largest; never 0, with which nobody can train.
    pub fn rate(&self, full: f32, round: u32, rounds: u32) -> f32 {
        (full * self.share(round, rounds)).max(f32::MIN_POSITIVE)
    }

    /// Share of the job's learning rate in training round `round`, counted from 0, of `rounds`.
    fn share(&self, round: u32, rounds: u32) -> f32 {
        if round < self.warmup_rounds {
            return (round + 1) as f32 / (self.warmup_rounds + 1) as f32;
        }
        let done = round - self.warmup_rounds;
        // From 0 in the first full round to 1 after the last, so that no round has no rate at all.
        let span = rounds.saturating_sub(self.warmup_rounds).max(1);
        let progress = f64::from(done.min(span)) / f64::from(span);
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Step { every, factor } => {
                let falls = done / every.max(1);
                factor.powi(i32::try_from(falls).unwrap_or(i32::MAX))
            }
            Decay::Linear { end } => (1.0 - progress * (1.0 - f64::from(end))) as f32,
            Decay::Cosine { end } => {
                let end = f64::from(end);
                let wave = (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
                (end + (1.0 - end) * wave) as f32
            }
        }
    }
}

/// Largest weight of a class or an example: products and sums of them stay far within 32-bit floats.
pub const EXAMPLE_WEIGHT_MAX: f32 = 1e9;

/// Hyper-parameters of local training, the same on every device of a round.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSpec {
    /// What is minimised.
    pub loss: Loss,
    /// How a step is taken.
    pub optimizer: LocalOptimizer,
    /// Step size.
    pub learning_rate: f32,
    /// Largest Euclidean norm of all gradients of a batch together, to which a longer one is cut before
    /// anything is added to it (Pascanu et al. 2013); 0 is off.
    pub gradient_norm_max: f32,
    /// L2 coefficient λ: λ·w is added to every gradient before the optimiser sees it, or decays the
    /// weights beside it where the optimiser says so.
    pub weight_decay: f32,
    /// FedProx coefficient µ (Li et al. 2020): µ·(w − w_global) is added to every gradient of
    /// what travels; 0 is off.
    pub proximal: f32,
    /// Passes over the local training rows.
    pub local_epochs: u32,
    /// Examples a step; the last batch of an epoch may be smaller.
    pub batch_size: u32,
    /// What an example counts by its class, in the order of the label's classes; empty where all count the
    /// same. The loss of a batch is `Σ wᵢ·lᵢ / Σ wᵢ`, as in PyTorch, with the weights of classes and of
    /// examples multiplied.
    pub class_weights: Vec<f32>,
}

impl TrainingSpec {
    /// One epoch of plain descent over batches of 32 examples, with nothing added to the gradients.
    pub const fn plain(loss: Loss, learning_rate: f32) -> Self {
        Self {
            loss,
            optimizer: LocalOptimizer::SGD,
            learning_rate,
            gradient_norm_max: 0.0,
            weight_decay: 0.0,
            proximal: 0.0,
            local_epochs: 1,
            batch_size: 32,
            class_weights: Vec::new(),
        }
    }

    /// Why no batch of a label with so many classes can be weighted as asked, or none.
    pub fn class_weights_problem(&self, classes: Option<usize>) -> Option<String> {
        let weights = &self.class_weights;
        if weights.is_empty() {
            return None;
        }
        let Some(classes) = classes else {
            return Some("the loss predicts a number and has no classes".to_owned());
        };
        if weights.len() != classes {
            let given = weights.len();
            return Some(format!(
                "{given} are given for {classes} classes: give one for each"
            ));
        }
        let allowed = 0.0..=EXAMPLE_WEIGHT_MAX;
        if let Some(unfit) = weights.iter().find(|weight| !allowed.contains(*weight)) {
            return Some(format!(
                "{unfit} is none: a weight is from 0 to {EXAMPLE_WEIGHT_MAX:e}"
            ));
        }
        let all_zero = weights.iter().all(|weight| *weight == 0.0);
        all_zero.then(|| "all are 0, so that nothing could be learnt".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_as_the_schedule_says() {
        let check = |warmup_rounds: u32, decay: Decay, expected: [f32; 5]| {
            let schedule = Schedule {
                warmup_rounds,
                decay,
            };
            for (round, expected) in (0..).zip(expected) {
                let share = schedule.share(round, 5);
                assert!(
                    (share - expected).abs() < 1e-6,
                    "{schedule:?}, round {round}: {share}"
                );
            }
        };
        check(0, Decay::Constant, [1.0; 5]);
        check(2, Decay::Constant, [1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0]);
        let step = Decay::Step {
            every: 2,
            factor: 0.5,
        };
        check(0, step, [1.0, 1.0, 0.5, 0.5, 0.25]);
        check(1, step, [0.5, 1.0, 1.0, 0.5, 0.5]);
        check(0, Decay::Linear { end: 0.2 }, [1.0, 0.84, 0.68, 0.52, 0.36]);
        let cosine = [1.0, 0.904_508_5, 0.654_508_5, 0.345_491_5, 0.095_491_5];
        check(0, Decay::Cosine { end: 0.0 }, cosine);
        check(3, Decay::Cosine { end: 0.1 }, [0.25, 0.5, 0.75, 1.0, 0.55]);
        check(9, Decay::Linear { end: 0.0 }, [0.1, 0.2, 0.3, 0.4, 0.5]);
        let odd = Decay::Step {
            every: 0,
            factor: 2.0,
        };
        check(0, odd, [1.0, 2.0, 4.0, 8.0, 16.0]);
    }

    #[test]
    fn a_rate_that_has_fallen_for_long_is_still_one() {
        let schedule = Schedule {
            warmup_rounds: 0,
            decay: Decay::Step {
                every: 1,
                factor: 0.5,
            },
        };
        assert_eq!(schedule.rate(0.1, 1, 10_000), 0.05);
        assert_eq!(schedule.rate(0.1, 9_999, 10_000), f32::MIN_POSITIVE);
        assert_eq!(schedule.rate(0.1, u32::MAX, u32::MAX), f32::MIN_POSITIVE);
    }

    #[test]
    fn class_weights_are_one_for_each_class() {
        let check = |weights: &[f32], classes: Option<usize>, expected: Option<&str>| {
            let spec = TrainingSpec {
                class_weights: weights.to_vec(),
                ..TrainingSpec::plain(Loss::SoftmaxCrossEntropy, 0.1)
            };
            let problem = spec.class_weights_problem(classes);
            match (&problem, expected) {
                (None, None) => {}
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                _ => panic!("{weights:?} {classes:?}: {problem:?}"),
            }
        };
        check(&[], None, None);
        check(&[0.0, 1.0, EXAMPLE_WEIGHT_MAX], Some(3), None);
        check(&[1.0, 2.0], None, Some("no classes"));
        check(&[1.0, 2.0], Some(3), Some("2 are given for 3"));
        check(&[1.0, -1.0], Some(2), Some("-1 is none"));
        check(&[f32::NAN, 1.0], Some(2), Some("NaN is none"));
        check(&[1.0, 2e9], Some(2), Some("to 1e9"));
        check(&[0.0, 0.0], Some(2), Some("all are 0"));
    }

    #[test]
    fn a_job_of_one_round_has_its_whole_rate() {
        for decay in [Decay::Linear { end: 0.0 }, Decay::Cosine { end: 0.0 }] {
            let schedule = Schedule {
                warmup_rounds: 0,
                decay,
            };
            assert_eq!(schedule.share(0, 1), 1.0);
        }
    }
}
