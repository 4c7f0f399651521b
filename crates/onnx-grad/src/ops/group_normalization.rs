//! GroupNormalization (Wu and He, "Group Normalization", 2018): for each group of channels of each example
//! `y = scale·(x − mean)/√(variance + epsilon) + bias`, with its mean and population variance. Saves the
//! normalised input and the inverse deviation.

use super::shared_normalization::{Grouped, channels};
use super::{InputGradients, Operator};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// First operator set in which scale and bias have a number for each channel, before for each group.
const SCALED_BY_CHANNEL_SINCE: i64 = 21;

pub(crate) struct GroupNormalization;

impl Operator for GroupNormalization {
    fn name(&self) -> &'static str {
        "GroupNormalization"
    }

    fn since(&self) -> i64 {
        18
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

fn read(site: &Site<'_>) -> Result<Grouped, String> {
    let channels = channels(site)?;
    let groups = int_or(site.proto, "num_groups", 0);
    let count = u64::try_from(groups)
        .ok()
        .filter(|count| *count > 0 && channels % count == 0);
    let count =
        count.ok_or_else(|| format!("its {channels} channels do not fall into {groups} groups"))?;
    match site.opset >= SCALED_BY_CHANNEL_SINCE {
        true => Grouped::new(site, count, channels),
        false => Grouped::new(site, count, count),
    }
}
