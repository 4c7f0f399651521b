//! InstanceNormalization: `y = scale·(x − mean)/√(variance + epsilon) + bias`, with mean and population
//! variance of each channel of each example. Saves the normalised input and the inverse deviation.

use super::shared_normalization::{Grouped, channels};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct InstanceNormalization;

impl Operator for InstanceNormalization {
    fn name(&self) -> &'static str {
        "InstanceNormalization"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        read(site)?;
        Grouped::infer(site)
    }

    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        read(site)?.train(site, graph)
    }

    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        read(site)?.gradient(site, upstream, graph)
    }
}

/// Every channel is a group.
fn read(site: &Site<'_>) -> Result<Grouped, String> {
    let channels = channels(site)?;
    Grouped::new(site, channels, channels)
}
