//! Reshape: the same elements in another shape, which must be known. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::limits::Limits;
use crate::shape::{
    Dim, Int, Shape, ValueType, as_reshape, batch_axis, elements_per_example, show,
};
use crate::tensor::Tensor;

pub(crate) struct Reshape;

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let input = site.input(0)?;
        let wanted = site.input(1)?;
        let Some(target) = wanted.constant.as_ref().and_then(Tensor::ints) else {
            return Err(format!(
                "its shape `{}` must be an int64 constant; export with fixed sizes and -1 for the batch",
                wanted.name
            ));
        };
        // Before operator set 14 there was no such attribute, and 0 always meant copying.
        let copies_zero = site.opset < 14 || int_or(site.proto, "allowzero", 0) == 0;
        Ok(vec![ValueType {
            element: input.value_type.element,
            shape: resolve(input, &target, copies_zero)?,
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared::known_in(site, self.infer(site)?)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// The shape as a constant: whatever computes it need not run.
    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let Some(output) = site.optional_output(0) else {
            return Ok(false);
        };
        let shape = graph.integers(&as_reshape(output.shape()));
        let input = &site.input(0)?.name;
        graph.node_into("Reshape", &[input, &shape], &[], output.name.clone());
        Ok(true)
    }

    /// `dx = dy` in the input's shape.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared::reshape_back(site, upstream, graph)
    }
}

/// The output's shape: 0 copies the input's size at the same place, −1 takes what is left over.
fn resolve(input: &Value, target: &[Int], copies_zero: bool) -> Result<Shape, String> {
    let misfit = || {
        let sizes: Vec<String> = target.iter().map(Int::to_string).collect();
        format!(
            "{} does not fit into [{}]",
            show(input.shape()),
            sizes.join(", ")
        )
    };
    let mut shape = Shape::new();
    let mut open = None;
    for (axis, &size) in target.iter().enumerate() {
        shape.push(match size {
            Int::Fixed(-1) if open.replace(axis).is_none() => Dim::Fixed(1),
            Int::Fixed(0) if copies_zero => *input.shape().get(axis).ok_or_else(misfit)?,
            Int::Fixed(size @ 1..) => Dim::Fixed(size as u64),
            Int::Batch(times @ 1..) => Dim::Batch(times as u64),
            _ => return Err(misfit()),
        });
    }
    let total = elements_per_example(input.shape()).ok_or_else(misfit)?;
    let known = elements_per_example(&shape).ok_or_else(misfit)?;
    let batch_placed = batch_axis(&shape).is_some() || batch_axis(input.shape()).is_none();
    match (open, total.checked_div(known)) {
        (Some(axis), Some(left)) if left * known == total && left > 0 => {
            shape[axis] = match batch_placed {
                true => Dim::Fixed(left),
                false => Dim::Batch(left),
            };
            Ok(shape)
        }
        (None, _) if !batch_placed => Err(format!(
            "{}, which fixes the number of examples; use -1 or 0 for the batch dimension",
            misfit()
        )),
        (None, _) if total == known => Ok(shape),
        _ => Err(misfit()),
    }
}
