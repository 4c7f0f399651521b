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
    },
    /// Kingma and Ba, "Adam" (2015), algorithm 1, with bias correction.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
    },
}

/// Hyper-parameters of local training, the same on every device of a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingSpec {
    /// What is minimised.
    pub loss: Loss,
    /// How a step is taken.
    pub optimizer: LocalOptimizer,
    /// Step size.
    pub learning_rate: f32,
    /// L2 coefficient λ: λ·w is added to every gradient before the optimiser sees it.
    pub weight_decay: f32,
    /// FedProx coefficient µ (Li et al. 2020): µ·(w − w_global) is added to every gradient; 0 is off.
    pub proximal: f32,
    /// Passes over the local training rows.
    pub local_epochs: u32,
    /// Examples a step; the last batch of an epoch may be smaller.
    pub batch_size: u32,
}
