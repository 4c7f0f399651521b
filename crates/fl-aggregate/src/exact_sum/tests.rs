use super::*;
use fl_model::{
    DataSpec, Epoch, FeatureSpec, JobId, Label, Loss, Normalization, ObjectRef, Privacy, RoundKey,
    RoundNumber, Split, TraceContext, TrainWork, TrainingSpec, Weighting,
};
use proptest::prelude::*;

const TENSORS: [usize; 2] = [3, 2];
const WEIGHT_MAX: u64 = 1000;

fn plan(width: GridWidth) -> RoundPlan {
    let training = TrainingSpec {
        batch_size: 8,
        ..TrainingSpec::plain(Loss::BinaryCrossEntropy, 0.1)
    };
    let work = TrainWork {
        training,
        normalization: Normalization {
            mean: vec![],
            scale: vec![],
        },
        grid: Grid::for_clip_norm(width, 4.0, TENSORS.len()),
        clip_norm: 4.0,
        weighting: Weighting::Examples,
        weight_max: WEIGHT_MAX,
        privacy: Privacy::Off,
        seed: 0,
    };
    RoundPlan {
        key: RoundKey {
            job: JobId::new("j").unwrap(),
            round: RoundNumber(1),
            phase: fl_model::Phase::Train,
        },
        epoch: Epoch(1),
        model: ObjectRef::to(b""),
        options: fl_model::ModelOptions::PLAIN,
        draw: None,
        parameters: ObjectRef::to(b""),
        data: DataSpec {
            inputs: FeatureSpec {
                features: vec![],
                clip: 5.0,
            }
            .into(),
            label: Label::Value { column: "y".into() },
            split: Split::Tail { test_fraction: 0.2 },
        },
        work: Work::Train(Box::new(work)),
        quorum: 1,
        contributions_max: 64,
        deadline_ms: 1000,
        trace: TraceContext::default(),
        region_contributions_max: 64,
    }
}

fn update(weight: u64, values: &[f32; 5], width: GridWidth) -> Payload {
    let grid = Grid::for_clip_norm(width, 4.0, TENSORS.len());
    let encoded = grid
        .encode(&[values[..3].to_vec(), values[3..].to_vec()])
        .unwrap();
    Payload::Update {
        update: ProtectedUpdate::Plain {
            weight,
            q: encoded.q,
        },
        metrics: TrainMetrics {
            examples: weight,
            loss: i128::from(weight) * 3,
            magnitudes: encoded.magnitudes,
            saturated: encoded.saturated,
        },
    }
}

fn summed(plan: &RoundPlan, payloads: &[Payload]) -> ExactSum {
    let mut sum = ExactSum::empty(plan, &TENSORS);
    for payload in payloads {
        sum.add(payload).unwrap();
    }
    sum
}

type Change = dyn Fn(&mut u64, &mut Vec<Vec<i32>>, &mut TrainMetrics);

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let plan = plan(GridWidth::W16);
    let good = update(10, &[1.0; 5], GridWidth::W16);
    let sum = summed(&plan, std::slice::from_ref(&good));
    let check = |payload: Payload, expected: SumError| {
        let mut tried = sum.clone();
        assert_eq!(tried.add(&payload), Err(expected));
        assert_eq!(tried, sum);
    };
    let changed = |change: &Change| {
        let mut payload = good.clone();
        let Payload::Update { update, metrics } = &mut payload else {
            unreachable!("the payload is an update")
        };
        let ProtectedUpdate::Plain { weight, q } = update;
        change(weight, q, metrics);
        payload
    };
    let weight = |weight| SumError::Weight {
        weight,
        weight_max: WEIGHT_MAX,
    };
    check(changed(&|w, _, _| *w = 0), weight(0));
    check(
        changed(&|w, _, _| *w = WEIGHT_MAX + 1),
        weight(WEIGHT_MAX + 1),
    );
    check(changed(&|_, q, _| q[1].push(0)), SumError::Shape);
    check(changed(&|_, q, _| q.truncate(1)), SumError::Shape);
    check(changed(&|_, _, m| m.saturated.clear()), SumError::Shape);
    check(changed(&|_, q, _| q[0][0] = 32768), SumError::Range);
    check(changed(&|_, q, _| q[0][0] = i32::MIN), SumError::Range);
    check(changed(&|_, _, m| m.loss = i128::MAX), SumError::Range);
    check(
        changed(&|_, _, m| m.saturated[1] = u64::MAX - 1),
        SumError::Range,
    );
    let statistics = Payload::Statistics(FeatureStatistics::empty(0));
    check(statistics, SumError::Phase);
}

proptest! {
    /// Any order and any tree give the same bits, and their mean is federated averaging within the grid.
    #[test]
    fn any_order_and_any_tree_give_the_same_bits(
        updates in prop::collection::vec((1..=WEIGHT_MAX, prop::array::uniform5(-3.9f32..3.9)), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        shuffle in any::<u64>(),
        wide in any::<bool>(),
    ) {
        let width = if wide { GridWidth::W32 } else { GridWidth::W16 };
        let plan = plan(width);
        let mut payloads: Vec<_> =
            updates.iter().map(|(weight, values)| update(*weight, values, width)).collect();
        let flat = summed(&plan, &payloads);

        let by_hash = |i: usize| (i as u64 + 1).wrapping_mul(shuffle | 1).rotate_left(17);
        let mut order: Vec<usize> = (0..payloads.len()).collect();
        order.sort_by_key(|&i| by_hash(i));
        payloads = order.iter().map(|&i| payloads[i].clone()).collect();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(payloads.len())).collect();
        bounds.extend([0, payloads.len()]);
        bounds.sort_unstable();
        let mut tree = ExactSum::empty(&plan, &TENSORS);
        for pair in bounds.windows(2) {
            let region = summed(&plan, &payloads[pair[0]..pair[1]]);
            tree.merge(region.sum()).unwrap();
        }
        prop_assert_eq!(&tree, &flat);

        let Sum::Update(sum) = flat.sum() else { unreachable!("a train plan sums updates") };
        let step = Grid::for_clip_norm(width, 4.0, TENSORS.len()).step(0);
        let total: f64 = updates.iter().map(|(weight, _)| *weight as f64).sum();
        for (i, &wq) in sum.wq.iter().flatten().enumerate() {
            let averaged: f64 =
                updates.iter().map(|(w, x)| *w as f64 * f64::from(x[i])).sum::<f64>() / total;
            let exact = wq as f64 * step / total;
            prop_assert!((averaged - exact).abs() <= step, "{} {}", averaged, exact);
        }
    }
}

fn evaluated(rows: &[(f32, f32)]) -> Payload {
    let differences = rows.iter().map(|(label, told)| f64::from(told - label));
    let fixed = |sum: f64| fl_model::FixedPoint::loss(sum).unwrap();
    let squared = fixed(differences.clone().map(|d| d * d).sum());
    Payload::Evaluation(EvaluationCounters {
        examples: rows.len() as u64,
        loss: squared,
        absolute_error: fixed(differences.map(f64::abs).sum()),
        squared_error: squared,
        ..EvaluationCounters::default()
    })
}

proptest! {
    /// A regression on prices: no figure of an honest device is out of range, however many devices the
    /// plan allows, and any order gives the same bits and the pooled error.
    #[test]
    fn errors_of_large_labels_add_up(
        devices in prop::collection::vec(
            prop::collection::vec((-1e8f32..1e8, -1e8f32..1e8), 1..50), 1..20),
    ) {
        let mut plan = plan(GridWidth::W32);
        plan.contributions_max = u32::MAX;
        plan.key.phase = fl_model::Phase::Evaluate;
        plan.work = Work::Evaluate(fl_model::EvaluateWork {
            loss: Loss::MeanSquaredError,
            normalization: Normalization { mean: vec![], scale: vec![] },
        });
        let mut payloads: Vec<_> = devices.iter().map(|rows| evaluated(rows)).collect();
        let forwards = summed(&plan, &payloads);
        payloads.reverse();
        prop_assert_eq!(&summed(&plan, &payloads), &forwards);
        let Sum::Evaluation(sum) = forwards.sum() else { unreachable!("the plan evaluates") };
        let rows = devices.concat();
        let pooled: f64 = rows.iter().map(|(a, b)| f64::from(b - a).powi(2)).sum();
        let mean = sum.mean_loss().unwrap();
        prop_assert!((mean - pooled / rows.len() as f64).abs() <= 1e-9 * mean + 1e-5);
    }
}

#[test]
fn the_largest_loss_of_a_device_is_within_everybodys_share() {
    let largest = fl_model::FixedPoint::loss(3.777e22).unwrap();
    let mut plan = plan(GridWidth::W32);
    plan.contributions_max = u32::MAX;
    let mut payload = update(1, &[1.0; 5], GridWidth::W32);
    let Payload::Update { metrics, .. } = &mut payload else {
        unreachable!("the payload is an update")
    };
    metrics.loss = largest;
    assert_eq!(ExactSum::empty(&plan, &TENSORS).add(&payload), Ok(()));
}
