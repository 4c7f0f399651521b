//! Arbitrary plans and jobs.

use fl_model::{
    AdaptiveRule, DataSpec, Decay, EvaluateWork, Feature, FeatureSpec, Grid, GridWidth,
    ImageFolder, ImageLayout, Inputs, JobSpec, Label, LocalOptimizer, Loss, ModelOptions,
    Normalization, Phase, Privacy, RoundKey, RoundPlan, Schedule, ServerOptimizer, Split,
    TableInputs, TensorElements, TensorInput, TensorScale, TensorSource, TrainWork, TrainingSpec,
    Weighting, Window, WindowLabel, WindowLayout, Work,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::ids::*;

pub(super) fn feature() -> impl Strategy<Value = Feature> {
    prop_oneof![
        TEXT.prop_map(|column| Feature::Numeric { column }),
        (TEXT, finite()).prop_map(|(source, period)| Feature::Cyclic { source, period }),
        (TEXT, vec(TEXT, 0..4))
            .prop_map(|(column, categories)| Feature::Categorical { column, categories }),
    ]
}

pub(super) fn label() -> impl Strategy<Value = Label> {
    prop_oneof![
        (TEXT, wide()).prop_map(|(column, limit)| Label::Above { column, limit }),
        (TEXT, vec(TEXT, 0..4)).prop_map(|(column, classes)| Label::Class { column, classes }),
        TEXT.prop_map(|column| Label::Value { column }),
    ]
}

pub(super) fn split() -> impl Strategy<Value = Split> {
    let rows = || (any::<u64>(), option::of(any::<u64>()));
    prop_oneof![
        (rows(), rows()).prop_map(|(train, test)| Split::Rows { train, test }),
        wide().prop_map(|test_fraction| Split::Tail { test_fraction }),
        (TEXT, TEXT, TEXT).prop_map(|(column, train, test)| Split::Column {
            column,
            train,
            test
        }),
    ]
}

pub(super) fn window() -> impl Strategy<Value = Window> {
    let layout = select(vec![WindowLayout::TimeFirst, WindowLayout::ChannelsFirst]);
    let label = select(vec![WindowLabel::Last, WindowLabel::Majority]);
    (any::<(u32, u32)>(), layout, label).prop_map(|((length, stride), layout, label)| Window {
        length,
        stride,
        layout,
        label,
    })
}

fn table() -> impl Strategy<Value = TableInputs> {
    let features = (vec(feature(), 0..5), finite());
    let weight = option::of(TEXT);
    (features, option::of(TEXT), option::of(window()), weight).prop_map(
        |((features, clip), time_column, window, weight)| TableInputs {
            features: FeatureSpec { features, clip },
            time_column,
            window,
            weight,
        },
    )
}

/// Only what a device can follow is on the wire.
fn scale(rank: u32) -> impl Strategy<Value = TensorScale> {
    let fixed = (finite(), 1e-6f32..1e6);
    let axis = (any::<bool>(), any::<u32>());
    prop_oneof![
        fixed.prop_map(|(mean, deviation)| TensorScale::Fixed { mean, deviation }),
        axis.prop_map(move |(each, axis)| TensorScale::Statistics {
            channels: (each && rank > 0).then(|| axis % rank.max(1)),
        }),
    ]
}

fn array(index: usize) -> impl Strategy<Value = TensorInput> {
    let dims = vec(1u64..8, 0..=TensorInput::RANK_MAX);
    let of_dims = dims.prop_flat_map(move |dims| {
        let elements = prop_oneof![
            scale(dims.len() as u32).prop_map(TensorElements::Numbers),
            Just(TensorElements::Indices),
        ];
        (Just(dims), elements)
    });
    (TEXT, TEXT, of_dims).prop_map(move |(name, array, (dims, elements))| TensorInput {
        name: format!("{index}{name}"),
        source: TensorSource::Array { array, dims },
        elements,
    })
}

fn images() -> impl Strategy<Value = TensorInput> {
    let sizes = (1u32..64, 1u32..64, select(vec![1u32, 3]));
    let layout = select(vec![ImageLayout::ChannelsFirst, ImageLayout::ChannelsLast]);
    (TEXT, sizes, layout, any::<bool>(), scale(3)).prop_map(
        |(folder, (height, width, channels), layout, resize, scale)| TensorInput {
            name: format!("0{folder}"),
            source: TensorSource::Images(ImageFolder {
                folder,
                height,
                width,
                channels,
                layout,
                resize,
            }),
            elements: TensorElements::Numbers(scale),
        },
    )
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let arrays = (1..=TensorInput::COUNT_MAX)
        .prop_flat_map(|count| (0..count).map(array).collect::<Vec<_>>());
    prop_oneof![
        table().prop_map(Inputs::Table),
        arrays.prop_map(Inputs::Tensors),
        images().prop_map(|images| Inputs::Tensors(vec![images])),
    ]
}

pub(super) fn data() -> impl Strategy<Value = DataSpec> {
    (inputs(), label(), split()).prop_map(|(inputs, label, split)| DataSpec {
        inputs,
        label,
        split,
    })
}

pub(super) fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::SoftmaxCrossEntropy),
        Just(Loss::BinaryCrossEntropy),
        Just(Loss::MeanSquaredError),
        Just(Loss::MeanAbsoluteError),
        finite().prop_map(|delta| Loss::Huber { delta }),
    ]
}

pub(super) fn local_optimizer() -> impl Strategy<Value = LocalOptimizer> {
    prop_oneof![
        (finite(), any::<bool>())
            .prop_map(|(momentum, nesterov)| LocalOptimizer::Sgd { momentum, nesterov }),
        (finite(), finite(), finite(), any::<bool>()).prop_map(
            |(beta1, beta2, epsilon, decoupled)| LocalOptimizer::Adam {
                beta1,
                beta2,
                epsilon,
                decoupled,
            }
        ),
    ]
}

pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    let decay = prop_oneof![
        Just(Decay::Constant),
        (any::<u32>(), finite()).prop_map(|(every, factor)| Decay::Step { every, factor }),
        finite().prop_map(|end| Decay::Linear { end }),
        finite().prop_map(|end| Decay::Cosine { end }),
    ];
    (any::<u32>(), decay).prop_map(|(warmup_rounds, decay)| Schedule {
        warmup_rounds,
        decay,
    })
}

pub(super) fn training() -> impl Strategy<Value = TrainingSpec> {
    let rates = (finite(), finite(), finite(), finite());
    let classes = vec(finite(), 0..4);
    (
        loss(),
        local_optimizer(),
        rates,
        any::<(u32, u32)>(),
        classes,
    )
        .prop_map(
            |(loss, optimizer, rates, (local_epochs, batch_size), class_weights)| {
                let (learning_rate, gradient_norm_max, weight_decay, proximal) = rates;
                TrainingSpec {
                    loss,
                    optimizer,
                    learning_rate,
                    gradient_norm_max,
                    weight_decay,
                    proximal,
                    local_epochs,
                    batch_size,
                    class_weights,
                }
            },
        )
}

pub(super) fn options() -> impl Strategy<Value = ModelOptions> {
    let patterns = || vec(TEXT, 0..3);
    (option::of(TEXT), patterns(), patterns()).prop_map(|(output, frozen, local)| ModelOptions {
        output,
        frozen,
        local,
    })
}

pub(super) fn normalization() -> impl Strategy<Value = Normalization> {
    vec((finite(), finite()), 0..6).prop_map(|columns| {
        let (mean, scale) = columns.into_iter().unzip();
        Normalization { mean, scale }
    })
}

pub(super) fn width() -> impl Strategy<Value = GridWidth> {
    select(vec![GridWidth::W16, GridWidth::W32])
}

pub(super) fn grid() -> impl Strategy<Value = Grid> {
    let exponent = -Grid::EXPONENT_MAX..=Grid::EXPONENT_MAX;
    (width(), vec(exponent, TENSORS)).prop_map(|(width, exponents)| Grid { width, exponents })
}

pub(super) fn weighting() -> impl Strategy<Value = Weighting> {
    select(vec![
        Weighting::Examples,
        Weighting::Capped,
        Weighting::Uniform,
    ])
}

pub(super) fn train_work() -> impl Strategy<Value = TrainWork> {
    let numbers = (finite(), any::<u64>(), any::<u64>());
    (training(), normalization(), grid(), weighting(), numbers).prop_map(
        |(training, normalization, grid, weighting, (clip_norm, weight_max, seed))| TrainWork {
            training,
            normalization,
            grid,
            clip_norm,
            weighting,
            weight_max,
            privacy: Privacy::Off,
            seed,
        },
    )
}

pub(super) fn work() -> impl Strategy<Value = Work> {
    let evaluate = (loss(), normalization()).prop_map(|(loss, normalization)| EvaluateWork {
        loss,
        normalization,
    });
    prop_oneof![
        Just(Work::Statistics),
        train_work().prop_map(|work| Work::Train(Box::new(work))),
        evaluate.prop_map(Work::Evaluate),
    ]
}

pub(crate) fn plan() -> impl Strategy<Value = RoundPlan> {
    let objects = (object(), object());
    let taken = (options(), option::of(any::<u64>()));
    (
        round_key(),
        epoch(),
        (objects, taken),
        data(),
        work(),
        any::<[u32; 4]>(),
        trace(),
    )
        .prop_map(
            |(key, epoch, ((model, parameters), (options, draw)), data, work, numbers, trace)| {
                let [
                    quorum,
                    contributions_max,
                    deadline_ms,
                    region_contributions_max,
                ] = numbers;
                let phase = match work {
                    Work::Statistics => Phase::Statistics,
                    Work::Train(_) => Phase::Train,
                    Work::Evaluate(_) => Phase::Evaluate,
                };
                RoundPlan {
                    key: RoundKey { phase, ..key },
                    epoch,
                    model,
                    options,
                    draw,
                    parameters,
                    data,
                    work,
                    quorum,
                    contributions_max,
                    deadline_ms,
                    trace,
                    region_contributions_max,
                }
            },
        )
}

pub(super) fn server() -> impl Strategy<Value = ServerOptimizer> {
    let rule = select(vec![
        AdaptiveRule::Adagrad,
        AdaptiveRule::Adam,
        AdaptiveRule::Yogi,
    ]);
    prop_oneof![
        finite().prop_map(|learning_rate| ServerOptimizer::FedAvg { learning_rate }),
        (finite(), finite()).prop_map(|(learning_rate, momentum)| ServerOptimizer::FedAvgM {
            learning_rate,
            momentum,
        }),
        (rule, finite(), finite(), finite(), finite()).prop_map(
            |(rule, learning_rate, beta1, beta2, tau)| ServerOptimizer::Adaptive {
                rule,
                learning_rate,
                beta1,
                beta2,
                tau,
            }
        ),
    ]
}

pub(super) fn job_spec() -> impl Strategy<Value = JobSpec> {
    let trains = (training(), schedule(), options());
    let of = (job(), TEXT, trains, data(), server());
    let choices = (width(), weighting(), finite(), any::<bool>());
    (of, choices, any::<[u32; 4]>(), any::<[u64; 2]>()).prop_map(
        |(
            (job, model, (training, schedule, options), data, server),
            (grid, weighting, clip_norm, randomize),
            a,
            b,
        )| {
            JobSpec {
                job,
                model,
                rounds: a[0],
                quorum: a[1],
                deadline_ms: a[2],
                seed: b[0],
                randomize,
                options,
                training,
                schedule,
                data,
                grid,
                clip_norm,
                weighting,
                weight_max: b[1],
                contributions_max: a[3],
                server,
            }
        },
    )
}
