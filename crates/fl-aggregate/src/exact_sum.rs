use fl_model::{
    EvaluationCounters, FeatureStatistics, Grid, GridWidth, Payload, ProtectedUpdate, Reason,
    RoundPlan, Sum, TrainMetrics, UpdateSum, Work,
};

/// Two sums, or a sum and a contribution, that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// They are of different phases.
    #[error("a sum takes contributions of its own phase only")]
    Phase,
    /// They have other tensors, columns or classes.
    #[error("shapes differ from the plan's model")]
    Shape,
    /// A weight of 0, or above the plan's maximum.
    #[error("weight {weight} is not within 1 to {weight_max}")]
    Weight {
        /// The weight that was claimed.
        weight: u64,
        /// The plan's maximum.
        weight_max: u64,
    },
    /// A figure is outside the range in which sums cannot overflow.
    #[error("a figure is out of the range that the plan's sums can hold")]
    Range,
}

impl SumError {
    /// The reason with which a contribution is rejected.
    pub fn reason(self) -> Reason {
        match self {
            SumError::Phase => Reason::Foreign,
            SumError::Shape => Reason::WrongShape,
            SumError::Weight { .. } => Reason::OverWeight,
            SumError::Range => Reason::NotFinite,
        }
    }
}

/// The sum of the contributions to one phase, and what each of them must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactSum {
    sum: Sum,
    weight_max: u64,
    magnitude_max: i32,
    /// Sums of that many figures, each within its type's maximum divided by it, cannot overflow.
    contributions_max: u32,
}

impl ExactSum {
    /// Nothing yet, for the plan's phase and a model with `tensors` coordinates per tensor.
    pub fn empty(plan: &RoundPlan, tensors: &[usize]) -> Self {
        let contributions_max = plan.contributions_max;
        match &plan.work {
            Work::Statistics => {
                let columns = plan.data.inputs.encoded_width();
                let sum = Sum::Statistics(FeatureStatistics::empty(columns));
                Self::of(sum, contributions_max)
            }
            Work::Train(work) => {
                Self::of_updates(work.grid.width, work.weight_max, contributions_max, tensors)
            }
            Work::Evaluate(_) => {
                let classes = plan.data.label.classes().unwrap_or(0);
                let sum = Sum::Evaluation(EvaluationCounters {
                    confusion: vec![0; classes * classes],
                    ..EvaluationCounters::default()
                });
                Self::of(sum, contributions_max)
            }
        }
    }

    /// Nothing yet, for at most `contributions_max` updates of a model with `tensors` coordinates per
    /// tensor, each on a grid of `width` with a weight up to `weight_max`.
    pub fn of_updates(
        width: GridWidth,
        weight_max: u64,
        contributions_max: u32,
        tensors: &[usize],
    ) -> Self {
        let sum = Sum::Update(UpdateSum {
            wq: tensors.iter().map(|&n| vec![0; n]).collect(),
            magnitudes: vec![Grid::ALL_ZERO; tensors.len()],
            saturated: vec![0; tensors.len()],
            ..UpdateSum::default()
        });
        Self {
            weight_max,
            magnitude_max: width.magnitude_max(),
            ..Self::of(sum, contributions_max)
        }
    }

    fn of(sum: Sum, contributions_max: u32) -> Self {
        Self {
            sum,
            weight_max: 0,
            magnitude_max: 0,
            contributions_max: contributions_max.max(1),
        }
    }

    /// The sum so far.
    pub fn sum(&self) -> &Sum {
        &self.sum
    }

    /// The sum, taken out.
    pub fn into_sum(self) -> Sum {
        self.sum
    }

    /// Adds one contribution. Where it is refused the sum is as it was.
    ///
    /// No single contribution can claim figures so large that they push others out of range; the
    /// caller takes at most the plan's `contributions_max`.
    pub fn add(&mut self, payload: &Payload) -> Result<(), SumError> {
        if !self.within_share(payload) {
            return Err(SumError::Range);
        }
        match (&mut self.sum, payload) {
            (Sum::Statistics(into), Payload::Statistics(one)) => add_statistics(into, one),
            (Sum::Evaluation(into), Payload::Evaluation(one)) => add_evaluation(into, one),
            (Sum::Update(into), Payload::Update { update, metrics }) => {
                let ProtectedUpdate::Plain { weight, q } = update;
                check_update(
                    into,
                    *weight,
                    q,
                    metrics,
                    self.weight_max,
                    self.magnitude_max,
                )?;
                add_update(into, *weight, q, metrics)
            }
            _ => Err(SumError::Phase),
        }
    }

    /// Whether each figure is within its type's maximum divided by the contributions that may come.
    fn within_share(&self, payload: &Payload) -> bool {
        let share = self.contributions_max;
        let unsigned = |figure: u64| figure <= u64::MAX / u64::from(share);
        let wide =
            |figure: &i128| figure.unsigned_abs() <= i128::MAX.unsigned_abs() / u128::from(share);
        let all = |figures: &[u64]| figures.iter().all(|&figure| unsigned(figure));
        match payload {
            Payload::Statistics(one) => {
                unsigned(one.rows)
                    && all(&one.count)
                    && all(&one.missing)
                    && one.sum.iter().all(wide)
                    && one.squares.iter().all(wide)
            }
            Payload::Update { metrics, .. } => {
                unsigned(metrics.examples) && wide(&metrics.loss) && all(&metrics.saturated)
            }
            Payload::Evaluation(one) => {
                unsigned(one.examples)
                    && unsigned(one.correct)
                    && wide(&one.loss)
                    && wide(&one.absolute_error)
                    && wide(&one.squared_error)
                    && all(&one.confusion)
            }
        }
    }

    /// Merges a partial sum of the same phase. Where it is refused the sum is as it was.
    pub fn merge(&mut self, partial: &Sum) -> Result<(), SumError> {
        match (&mut self.sum, partial) {
            (Sum::Statistics(into), Sum::Statistics(other)) => add_statistics(into, other),
            (Sum::Evaluation(into), Sum::Evaluation(other)) => add_evaluation(into, other),
            (Sum::Update(into), Sum::Update(other)) => merge_update(into, other),
            _ => Err(SumError::Phase),
        }
    }
}

/// Adds `more` to `into` at once, or not at all.
fn add_all<T: Copy>(
    into: &mut [T],
    more: &[T],
    add: impl Fn(T, T) -> Option<T>,
) -> Result<(), SumError> {
    if into.len() != more.len() {
        return Err(SumError::Shape);
    }
    if into.iter().zip(more).any(|(&a, &b)| add(a, b).is_none()) {
        return Err(SumError::Range);
    }
    for (a, &b) in into.iter_mut().zip(more) {
        *a = add(*a, b).ok_or(SumError::Range)?;
    }
    Ok(())
}

fn add_statistics(into: &mut FeatureStatistics, one: &FeatureStatistics) -> Result<(), SumError> {
    let mut next = into.clone();
    next.rows = next.rows.checked_add(one.rows).ok_or(SumError::Range)?;
    add_all(&mut next.count, &one.count, u64::checked_add)?;
    add_all(&mut next.missing, &one.missing, u64::checked_add)?;
    add_all(&mut next.sum, &one.sum, i128::checked_add)?;
    add_all(&mut next.squares, &one.squares, i128::checked_add)?;
    *into = next;
    Ok(())
}

fn add_evaluation(into: &mut EvaluationCounters, one: &EvaluationCounters) -> Result<(), SumError> {
    let mut next = into.clone();
    let signed = |a: i128, b: i128| a.checked_add(b).ok_or(SumError::Range);
    next.examples = next
        .examples
        .checked_add(one.examples)
        .ok_or(SumError::Range)?;
    next.correct = next
        .correct
        .checked_add(one.correct)
        .ok_or(SumError::Range)?;
    next.loss = signed(next.loss, one.loss)?;
    next.absolute_error = signed(next.absolute_error, one.absolute_error)?;
    next.squared_error = signed(next.squared_error, one.squared_error)?;
    add_all(&mut next.confusion, &one.confusion, u64::checked_add)?;
    *into = next;
    Ok(())
}

fn check_update(
    into: &UpdateSum,
    weight: u64,
    q: &[Vec<i32>],
    metrics: &TrainMetrics,
    weight_max: u64,
    magnitude_max: i32,
) -> Result<(), SumError> {
    if weight == 0 || weight > weight_max {
        return Err(SumError::Weight { weight, weight_max });
    }
    let tensors = into.wq.len();
    let same_shape = q.len() == tensors
        && q.iter().zip(&into.wq).all(|(a, b)| a.len() == b.len())
        && metrics.magnitudes.len() == tensors
        && metrics.saturated.len() == tensors;
    if !same_shape {
        return Err(SumError::Shape);
    }
    let in_range = |q: &i32| q.unsigned_abs() <= magnitude_max.unsigned_abs();
    if !q.iter().flatten().all(in_range) {
        return Err(SumError::Range);
    }
    Ok(())
}

/// Σ w·q cannot overflow: the plan was refused unless contributions · weight · 2^(bits−1) < 2^63,
/// and the caller takes no more contributions than that. The figures beside it are checked.
fn add_update(
    into: &mut UpdateSum,
    weight: u64,
    q: &[Vec<i32>],
    metrics: &TrainMetrics,
) -> Result<(), SumError> {
    add_figures(
        into,
        &UpdateSum {
            wq: Vec::new(),
            weight,
            updates: 1,
            examples: metrics.examples,
            loss: metrics.loss,
            magnitudes: metrics.magnitudes.clone(),
            saturated: metrics.saturated.clone(),
        },
    )?;
    let weight = weight as i64;
    for (sums, values) in into.wq.iter_mut().zip(q) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = sum.wrapping_add(weight.wrapping_mul(i64::from(value)));
        }
    }
    Ok(())
}

fn merge_update(into: &mut UpdateSum, other: &UpdateSum) -> Result<(), SumError> {
    let same = into.wq.len() == other.wq.len()
        && into
            .wq
            .iter()
            .zip(&other.wq)
            .all(|(a, b)| a.len() == b.len());
    if !same {
        return Err(SumError::Shape);
    }
    let pairs = || into.wq.iter().flatten().zip(other.wq.iter().flatten());
    if pairs().any(|(a, b)| a.checked_add(*b).is_none()) {
        return Err(SumError::Range);
    }
    add_figures(into, other)?;
    for (sums, more) in into.wq.iter_mut().zip(&other.wq) {
        for (sum, &value) in sums.iter_mut().zip(more) {
            *sum = sum.wrapping_add(value);
        }
    }
    Ok(())
}

/// Everything of an update sum but its coordinates.
fn add_figures(into: &mut UpdateSum, other: &UpdateSum) -> Result<(), SumError> {
    let unsigned = |a: u64, b: u64| a.checked_add(b).ok_or(SumError::Range);
    let weight = unsigned(into.weight, other.weight)?;
    let updates = unsigned(into.updates, other.updates)?;
    let examples = unsigned(into.examples, other.examples)?;
    let loss = into.loss.checked_add(other.loss).ok_or(SumError::Range)?;
    if into.magnitudes.len() != other.magnitudes.len() {
        return Err(SumError::Shape);
    }
    add_all(&mut into.saturated, &other.saturated, u64::checked_add)?;
    for (most, &one) in into.magnitudes.iter_mut().zip(&other.magnitudes) {
        *most = (*most).max(one);
    }
    (into.weight, into.updates) = (weight, updates);
    (into.examples, into.loss) = (examples, loss);
    Ok(())
}

#[cfg(test)]
mod tests;
