//! A head that stays on the device, through training, a restart and evaluation.

use fl_model::{ModelOptions, Outcome};

use super::*;

/// The plan's model with its last layer kept by each device; only the first travels.
fn with_own_head(mut task: Task) -> Task {
    let mut object = ParameterObject::decode(&task.objects.parameters).unwrap();
    object.names.truncate(2);
    object.shapes.truncate(2);
    object.tensors.truncate(2);
    task.objects.parameters = Arc::new(object.encode().unwrap());
    task.plan.parameters = ObjectRef::to(&task.objects.parameters);
    task.plan.options = ModelOptions {
        local: vec!["fc2.*".to_owned()],
        ..ModelOptions::PLAIN
    };
    task
}

impl Device {
    fn own_head(&self) -> Option<Vec<Vec<f32>>> {
        let ledger = lock(&self.ledger);
        let local = ledger.local(&self.job.job, &ObjectRef::to(MODEL).digest);
        local.unwrap().map(|local| local.tensors)
    }

    fn does(&self, round: u32, work: Work) -> Payload {
        let task = with_own_head(self.task(round, work, MODEL));
        match self.worker.perform(&task) {
            Done::Stored(key) => self.stored(&key),
            other => panic!("{other:?}"),
        }
    }

    fn work_of_two_tensors(&self) -> Work {
        let work = self.train_work();
        Work::Train(Box::new(TrainWork {
            grid: fl_model::Grid::for_clip_norm(self.job.grid, self.job.clip_norm, 2),
            ..work
        }))
    }
}

#[test]
fn a_head_that_stays_learns_from_round_to_round() {
    let device = device(ROOM);
    assert_eq!(device.own_head(), None);
    let work = device.work_of_two_tensors();
    let Work::Train(train) = &work else {
        unreachable!()
    };
    let evaluate = Work::Evaluate(EvaluateWork {
        loss: train.training.loss,
        normalization: train.normalization.clone(),
    });
    let loss = |payload: Payload| match payload {
        Payload::Evaluation(counters) => counters.loss,
        other => panic!("{other:?}"),
    };
    let before = loss(device.does(1, evaluate.clone()));
    let Payload::Update { update, .. } = device.does(1, work.clone()) else {
        panic!("not an update");
    };
    let fl_model::ProtectedUpdate::Plain { q, .. } = update;
    let lengths: Vec<usize> = q.iter().map(Vec::len).collect();
    assert_eq!(lengths, [224, 16], "only what travels is sent");
    let first = device.own_head().unwrap();
    let file = initial_parameters(MODEL).unwrap();
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], file[2]);

    // The plan's parameters have not moved: what is better is the device's own head.
    let after = loss(device.does(2, evaluate));
    assert!(after < before, "{before} -> {after}");
    device.does(2, work);
    assert_ne!(device.own_head().unwrap(), first);
}

#[test]
fn a_round_that_was_interrupted_begins_from_the_same_head() {
    let (one, two) = (device(ROOM), device(ROOM));
    let work = one.work_of_two_tensors();
    assert_eq!(two.work_of_two_tensors(), work);
    for device in [&one, &two] {
        device.does(1, work.clone());
    }
    let key = |round| RoundKey {
        phase: Phase::Train,
        ..one.task(round, work.clone(), MODEL).plan.key
    };
    // Settled in one, not heard of in the other; what follows is the same.
    lock(&one.ledger)
        .forget(&key(1), Outcome::Counted, Some(&key(1)))
        .unwrap();
    *lock(&one.ledger) = Ledger::open(one.folder.path(), ROOM).unwrap();
    assert_eq!(one.own_head(), two.own_head());
    for device in [&one, &two] {
        device.does(2, work.clone());
    }
    assert_eq!(one.own_head(), two.own_head());
}
