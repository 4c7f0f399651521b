//! A device's own model of a job that leaves parameters to its devices.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use fl_model::RoundNumber;
use fl_runtime::job_file;
use fl_runtime::store::{Access, write_atomic};
use fl_wire::LocalParameters;
use onnx_train::personal;

use crate::cli::{EvaluateArguments, PersonalizeArguments};
use crate::ledger::own_parameters;
use crate::local::{Evaluated, evaluate, read};
use crate::settings::Home;

/// A model that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Personal {
    file: PathBuf,
    round: RoundNumber,
    own: LocalParameters,
    evaluated: Option<Evaluated>,
}

/// Puts the device's own parameters into an exported model.
///
/// # Errors
/// Settings, job or model cannot be used; the job leaves nothing to its devices, or this one has not trained it.
pub fn personalize(arguments: &PersonalizeArguments) -> anyhow::Result<Personal> {
    let home = Home::load(&arguments.home)?;
    let job = job_file::load(&arguments.job)?;
    let name = &job.job;
    ensure!(
        !job.options.local.is_empty(),
        "job {name} leaves no parameters to its devices ([training] local): {} is the model of all of them, use \
         it as it is",
        arguments.model.display()
    );
    let Some(own) = own_parameters(&home.folder, name)? else {
        bail!(
            "{} has no parameters of its own of job {name} yet: let `edge-agent run` take part in a round of it",
            home.device
        );
    };
    let (names, tensors) = (&own.parameters.names, &own.parameters.tensors);
    let values = names.iter().zip(tensors);
    let values: Vec<_> = values.map(|(name, own)| (&**name, &**own)).collect();
    let exported = read(&arguments.model)?;
    let model =
        personal(&exported, &values).with_context(|| arguments.model.display().to_string())?;
    // What the device has learnt for itself is its owner's alone.
    write_atomic(&arguments.output, &model, Access::Owner)?;
    let evaluated = arguments.evaluate.then(|| {
        evaluate(&EvaluateArguments {
            homes: vec![arguments.home.clone()],
            model: arguments.output.clone(),
            job: arguments.job.clone(),
            json: None,
        })
    });
    Ok(Personal {
        file: arguments.output.clone(),
        round: own.key.round,
        own: own.parameters,
        evaluated: evaluated.transpose()?,
    })
}

impl fmt::Display for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: usize = self.own.tensors.iter().map(Vec::len).sum();
        writeln!(
            f,
            "wrote {}: {numbers} numbers in it are this device's own, as round {} left them ({})",
            self.file.display(),
            self.round,
            self.own.names.join(", ")
        )?;
        match &self.evaluated {
            Some(evaluated) => write!(f, "{evaluated}"),
            None => Ok(()),
        }
    }
}
