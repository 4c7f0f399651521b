//! PRelu (He et al., 2015): `y = x` for `x ≥ 0`, else `slope·x`; the slope broadcasts. Saves `x` and
//! `slope`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{ValueType, show};

pub(crate) struct PRelu;

impl Operator for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let (x, slope) = (site.float(0)?, site.float(1)?);
        if shared::broadcast_shape(site, 0..2)? != *x.shape() {
            return Err(format!(
                "its slope {} does not broadcast to {}",
                show(slope.shape()),
                show(x.shape())
            ));
        }
        Ok(vec![x.value_type.clone()])
    }

    /// `dx = dy` where `x > 0`, else `slope·dy`; `dslope = dy·min(x, 0)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (x, slope) = (&site.input(0)?.name, &site.input(1)?.name);
        let zero = graph.scalar(0.0);
        shared::broadcast_gradients(
            site,
            graph,
            |graph| {
                let positive = graph.node("Greater", &[x, &zero], &[]);
                let leaked = graph.node("Mul", &[upstream, slope], &[]);
                graph.node("Where", &[&positive, upstream, &leaked], &[])
            },
            |graph| {
                let negative = graph.node("Min", &[x, &zero], &[]);
                graph.node("Mul", &[upstream, &negative], &[])
            },
        )
    }
}
