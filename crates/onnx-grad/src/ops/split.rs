//! Split: a value cut into pieces along an axis. Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, ValueType, normalize_axis, show};
use crate::tensor::Tensor;

pub(crate) struct Split;

impl Operator for Split {
    fn name(&self) -> &'static str {
        "Split"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let (axis, sizes) = pieces(site)?;
        let element = shared_axes::moved_element(site, 0)?;
        let piece = |size| {
            let mut shape = site.input(0)?.shape().clone();
            shape[axis] = Dim::Fixed(size);
            Ok(ValueType { element, shape })
        };
        sizes.into_iter().map(piece).collect()
    }

    /// Lists of sizes are taken apart as well.
    fn constants(&self, site: &Site<'_>, _limits: &Limits) -> Result<Vec<Option<Tensor>>, String> {
        let Some(numbers) = shared_axes::known_list(site, 0) else {
            return Ok(Vec::new());
        };
        let mut numbers = numbers.into_iter();
        let (_, sizes) = pieces(site)?;
        let piece = |size: u64| shared_axes::known(numbers.by_ref().take(size as usize).collect());
        Ok(sizes.into_iter().map(piece).map(Some).collect())
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    fn differentiable_output(&self, _output: usize) -> bool {
        true
    }

    /// The pieces' gradients one behind the other. Those that have none are zeros, which one Pad puts
    /// behind the piece before them.
    fn gradients(
        &self,
        site: &Site<'_>,
        upstream: &[Option<String>],
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (axis, sizes) = pieces(site)?;
        let rank = site.input(0)?.shape().len();
        // Pieces with a gradient, and the sizes of the gaps before the first and behind each.
        let mut present: Vec<(&str, i64)> = Vec::new();
        let mut leading = 0;
        for (index, size) in sizes.iter().enumerate() {
            match (
                upstream.get(index).and_then(Option::as_deref),
                present.last_mut(),
            ) {
                (Some(gradient), _) => present.push((gradient, 0)),
                (None, Some((_, gap))) => *gap += *size as i64,
                (None, None) => leading += *size as i64,
            }
        }
        let mut joined = Vec::with_capacity(present.len());
        for (gradient, gap) in present {
            let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
            before[axis] = std::mem::take(&mut leading);
            after[axis] = gap;
            joined.push(graph.pad(gradient, &before, &after));
        }
        Ok(vec![Some(graph.concat(&joined, axis as i64))])
    }
}

/// The axis, and the size of each piece along it.
fn pieces(site: &Site<'_>) -> Result<(usize, Vec<u64>), String> {
    let shape = site.input(0)?.shape();
    let axis = normalize_axis(int_or(site.proto, "axis", 0), shape.len())?;
    let total = shared_axes::fixed_size(shape, axis, "cuts along")?;
    let misfit = |sizes: &str| format!("cannot cut axis {axis} of {} into {sizes}", show(shape));
    if let Some(given) = site.fixed_ints(1)? {
        let sizes: Option<Vec<u64>> = given
            .iter()
            .map(|size| u64::try_from(*size).ok().filter(|size| *size > 0))
            .collect();
        let sum = |sizes: &Vec<u64>| {
            let add = |sum: u64, size: &u64| sum.checked_add(*size);
            sizes.iter().try_fold(0, add)
        };
        let fitting = sizes.filter(|sizes| sum(sizes) == Some(total));
        return Ok((axis, fitting.ok_or_else(|| misfit(&format!("{given:?}")))?));
    }
    let outputs = site.proto.output.len() as u64;
    let count = match site.opset {
        // Without sizes all pieces are equal; from operator set 18 on the last may be smaller.
        ..18 if outputs > 0 && total % outputs == 0 => outputs,
        18.. => u64::try_from(int_or(site.proto, "num_outputs", 0)).unwrap_or(0),
        _ => 0,
    };
    if count == 0 || count > total || count != outputs {
        return Err(misfit(&format!("{outputs} pieces")));
    }
    let size = total.div_ceil(count);
    let last = total
        .checked_sub(size * (count - 1))
        .filter(|last| *last > 0);
    let last = last.ok_or_else(|| misfit(&format!("{count} pieces")))?;
    let mut sizes = vec![size; count as usize];
    if let Some(end) = sizes.last_mut() {
        *end = last;
    }
    Ok((axis, sizes))
}
