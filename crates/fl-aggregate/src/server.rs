use fl_model::{AdaptiveRule, Grid, ServerOptimizer, UpdateSum};

/// First and second moments of a server optimiser, per tensor and coordinate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// First moment; FedAvgM's velocity. Empty where the optimiser has none.
    pub first: Vec<Vec<f32>>,
    /// Second moment. Empty where the optimiser has none.
    pub second: Vec<Vec<f32>>,
}

/// The next global model.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStep {
    /// Parameters per tensor and coordinate.
    pub parameters: Vec<Vec<f32>>,
    /// Moments for the next step.
    pub moments: Moments,
}

/// A sum that the global model cannot be moved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Nobody is in the sum.
    #[error("the sum has weight 0: nobody contributed")]
    NoWeight,
    /// Sum, grid and parameters have other tensors.
    #[error("the sum has other tensors than the global model")]
    Shape,
    /// A parameter left the range of a 32-bit float.
    #[error("the global model went to infinity: lower the server's learning rate")]
    NotFinite,
}

impl ServerStep {
    /// Moves `parameters` along the mean of `sum`.
    ///
    /// The mean is Σ w·q · 2^e / Σ w, formed once in `f64`; the optimiser is Reddi et al. (2021),
    /// algorithm 2, without bias correction, as there. `moments` are empty before the first step.
    pub fn take(
        optimizer: &ServerOptimizer,
        parameters: &[Vec<f32>],
        moments: &Moments,
        sum: &UpdateSum,
        grid: &Grid,
    ) -> Result<Self, StepError> {
        if sum.weight == 0 {
            return Err(StepError::NoWeight);
        }
        let tensors = parameters.len();
        let same = sum.wq.len() == tensors
            && grid.exponents.len() == tensors
            && sum
                .wq
                .iter()
                .zip(parameters)
                .all(|(a, b)| a.len() == b.len());
        if !same {
            return Err(StepError::Shape);
        }
        let rule = Rule::of(optimizer);
        let mut step = Self {
            parameters: Vec::with_capacity(tensors),
            moments: Moments::default(),
        };
        for (tensor, values) in parameters.iter().enumerate() {
            let scale = grid.step(tensor) / sum.weight as f64;
            let mean = sum.wq[tensor].iter().map(|&wq| wq as f64 * scale);
            let before = [moments.first.get(tensor), moments.second.get(tensor)];
            let moved = rule.step_tensor(values, before, mean);
            if moved.parameters.iter().any(|value| !value.is_finite()) {
                return Err(StepError::NotFinite);
            }
            step.parameters.push(moved.parameters);
            if rule.keeps_first {
                step.moments.first.push(moved.first);
            }
            if rule.adaptive.is_some() {
                step.moments.second.push(moved.second);
            }
        }
        Ok(step)
    }
}

/// The optimiser's settings in `f64`, and which moments it keeps.
struct Rule {
    learning_rate: f64,
    beta1: f64,
    /// FedAvgM adds the whole update to its velocity, the adaptive rules (1 − β1) of it.
    first_gain: f64,
    beta2: f64,
    tau: f64,
    keeps_first: bool,
    adaptive: Option<AdaptiveRule>,
}

struct Moved {
    step: f64,
    first: f64,
    second: f64,
}

/// One tensor after the step.
#[derive(Default)]
struct MovedTensor {
    parameters: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Rule {
    fn of(optimizer: &ServerOptimizer) -> Self {
        let plain = |learning_rate: f32, beta1: f32, keeps_first| Self {
            learning_rate: learning_rate.into(),
            beta1: beta1.into(),
            first_gain: 1.0,
            beta2: 0.0,
            tau: 0.0,
            keeps_first,
            adaptive: None,
        };
        match *optimizer {
            ServerOptimizer::FedAvg { learning_rate } => plain(learning_rate, 0.0, false),
            ServerOptimizer::FedAvgM {
                learning_rate,
                momentum,
            } => plain(learning_rate, momentum, true),
            ServerOptimizer::Adaptive {
                rule,
                learning_rate,
                beta1,
                beta2,
                tau,
            } => Self {
                first_gain: 1.0 - f64::from(beta1),
                beta2: beta2.into(),
                tau: tau.into(),
                adaptive: Some(rule),
                ..plain(learning_rate, beta1, true)
            },
        }
    }

    fn step_tensor(
        &self,
        values: &[f32],
        before: [Option<&Vec<f32>>; 2],
        mean: impl Iterator<Item = f64>,
    ) -> MovedTensor {
        let at = |moments: Option<&Vec<f32>>, i: usize| {
            let of = moments.and_then(|values| values.get(i));
            f64::from(of.copied().unwrap_or(0.0))
        };
        let mut into = MovedTensor::default();
        for (i, (delta, &value)) in mean.zip(values).enumerate() {
            let moved = self.step(delta, at(before[0], i), at(before[1], i));
            into.parameters.push((f64::from(value) + moved.step) as f32);
            into.first.push(moved.first as f32);
            into.second.push(moved.second as f32);
        }
        into
    }

    fn step(&self, delta: f64, m: f64, v: f64) -> Moved {
        let first = self.beta1 * m + self.first_gain * delta;
        let square = delta * delta;
        let (second, divisor) = match self.adaptive {
            None => (0.0, 1.0),
            Some(rule) => {
                let second = match rule {
                    AdaptiveRule::Adagrad => v + square,
                    AdaptiveRule::Adam => self.beta2 * v + (1.0 - self.beta2) * square,
                    AdaptiveRule::Yogi if v > square => v - (1.0 - self.beta2) * square,
                    AdaptiveRule::Yogi if v < square => v + (1.0 - self.beta2) * square,
                    AdaptiveRule::Yogi => v,
                };
                (second, second.sqrt() + self.tau)
            }
        };
        Moved {
            step: self.learning_rate * first / divisor,
            first,
            second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fl_model::GridWidth;

    /// One coordinate at 1.0, moved twice by a mean update of 0.5.
    fn twice(optimizer: ServerOptimizer) -> [f32; 2] {
        let grid = Grid {
            width: GridWidth::W16,
            exponents: vec![-8],
        };
        let sum = UpdateSum {
            wq: vec![vec![3 * 128]],
            weight: 3,
            ..UpdateSum::default()
        };
        let take = |parameters: &[Vec<f32>], moments: &Moments| {
            ServerStep::take(&optimizer, parameters, moments, &sum, &grid).unwrap()
        };
        let once = take(&[vec![1.0]], &Moments::default());
        let again = take(&once.parameters, &once.moments);
        [once.parameters[0][0], again.parameters[0][0]]
    }

    #[test]
    fn each_optimiser_takes_the_step_of_its_formula() {
        let check = |optimizer, expected: [f32; 2]| {
            let got = twice(optimizer);
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(got.iter().zip(&expected).all(near), "{got:?} {expected:?}");
        };
        let learning_rate = 0.5;
        check(ServerOptimizer::FedAvg { learning_rate }, [1.25, 1.5]);
        let momentum = 0.5;
        check(
            ServerOptimizer::FedAvgM {
                learning_rate,
                momentum,
            },
            [1.25, 1.625],
        );
        let adaptive = |rule| ServerOptimizer::Adaptive {
            rule,
            learning_rate,
            beta1: 0.0,
            beta2: 0.75,
            tau: 0.5,
        };
        // Δ² = 0.25: Adagrad v = 0.25, 0.5; Adam and Yogi v = 0.0625, then 0.109375.
        let by = |v: f32| 0.25 / (v.sqrt() + 0.5);
        check(
            adaptive(AdaptiveRule::Adagrad),
            [1.0 + by(0.25), 1.0 + by(0.25) + by(0.5)],
        );
        let v = [0.0625, 0.109375];
        check(
            adaptive(AdaptiveRule::Adam),
            [1.0 + by(v[0]), 1.0 + by(v[0]) + by(v[1])],
        );
        let v = [0.0625, 0.125];
        check(
            adaptive(AdaptiveRule::Yogi),
            [1.0 + by(v[0]), 1.0 + by(v[0]) + by(v[1])],
        );
    }

    #[test]
    fn a_sum_of_nobody_moves_nothing() {
        let grid = Grid::for_clip_norm(GridWidth::W32, 1.0, 1);
        let fedavg = ServerOptimizer::FedAvg { learning_rate: 1.0 };
        let take = |sum: &UpdateSum, value: f32| {
            ServerStep::take(&fedavg, &[vec![value]], &Moments::default(), sum, &grid)
        };
        let nobody = UpdateSum {
            wq: vec![vec![0]],
            ..UpdateSum::default()
        };
        assert_eq!(take(&nobody, 1.0), Err(StepError::NoWeight));
        let shapeless = UpdateSum {
            weight: 1,
            ..UpdateSum::default()
        };
        assert_eq!(take(&shapeless, 1.0), Err(StepError::Shape));
        let one = UpdateSum {
            weight: 1,
            ..nobody
        };
        assert_eq!(take(&one, f32::INFINITY), Err(StepError::NotFinite));
        assert_eq!(take(&one, 1.0).unwrap().parameters, [[1.0]]);
    }
}
