//! Slice: `y[i] = x[start + i·step]` along some axes, up to `end`. Saves nothing.

use super::shared_known::Known;
use super::{InputGradients, Operator, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Int, ValueType, as_reshape, show};
use crate::tensor::Tensor;

pub(crate) struct Slice;

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(5)?;
        let mut shape = site.input(0)?.shape().clone();
        let element = shared_axes::moved_element(site, 0)?;
        for cut in cuts(site)? {
            // Exporters slice whole numbers away to nothing.
            if cut.count == 0 && element.is_float() {
                return Err(format!(
                    "keeps nothing of axis {} of {}",
                    cut.axis,
                    show(site.input(0)?.shape())
                ));
            }
            shape[cut.axis] = Dim::Fixed(cut.count as u64);
        }
        shared_axes::moved_into(site, shape)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let input = site.input(0)?;
        let Some(known) = Known::ints(input) else {
            return Ok(None);
        };
        let cuts = cuts(site)?;
        let kept = |axis: usize| -> Option<(usize, Vec<usize>)> {
            let along = match cuts.iter().find(|cut| cut.axis == axis) {
                Some(cut) => (0..cut.count)
                    .map(|index| usize::try_from(cut.start + index * cut.step).ok())
                    .collect::<Option<_>>()?,
                None => (0..input.shape()[axis].fixed()? as usize).collect(),
            };
            Some((axis, along))
        };
        let axes: Option<Vec<_>> = (0..input.shape().len()).map(kept).collect();
        Ok(axes
            .and_then(|axes| known.picked(&axes))
            .map(Known::<Int>::tensor))
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` among zeros: turned round where the step is negative, spread out where it is more than
    /// 1, and padded.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let cuts = cuts(site)?;
        let shape = site.output()?.shape();
        let turned = turn(upstream, &cuts, graph);
        let spread = spread(turned, shape, &cuts, graph);
        let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        for cut in &cuts {
            let first = cut.start.min(cut.start + (cut.count - 1) * cut.step);
            before[cut.axis] = first;
            // Spread, the last element has zeros behind it, of which some may be too many.
            after[cut.axis] = cut.size - first - cut.count * cut.spacing();
        }
        Ok(vec![Some(graph.pad(&spread, &before, &after))])
    }
}

/// What is kept along one axis; an axis of which all is kept has none.
struct Cut {
    axis: usize,
    /// The axis's size in the input.
    size: i64,
    start: i64,
    step: i64,
    count: i64,
}

impl Cut {
    /// How far apart kept elements are.
    fn spacing(&self) -> i64 {
        match self.count {
            1 => 1,
            _ => self.step.abs(),
        }
    }
}

fn cuts(site: &Site<'_>) -> Result<Vec<Cut>, String> {
    let shape = site.input(0)?.shape();
    let starts = site.ints(1)?.ok_or("input 1 is missing")?;
    let ends = site.ints(2)?.ok_or("input 2 is missing")?;
    let all = || (0..starts.len() as i64).collect();
    let axes: Vec<i64> = site.fixed_ints(3)?.unwrap_or_else(all);
    let steps = site.fixed_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("has starts, ends, axes and steps of different lengths".to_owned());
    }
    let axes = shared_axes::distinct_axes(&axes, shape.len())?;
    let mut cuts = Vec::new();
    for (index, axis) in axes.into_iter().enumerate() {
        let (start, end, step) = (starts[index], ends[index], steps[index]);
        if step == 0 {
            return Err(format!("has a step of 0 along axis {axis}"));
        }
        if keeps_all(shape[axis], start, end, step) {
            continue;
        }
        let size = shared_axes::fixed_size(shape, axis, "cuts along")? as i64;
        let (Int::Fixed(start), Int::Fixed(end)) = (start, end) else {
            return Err(format!(
                "cuts axis {axis} from {start} to {end}, which depends on the size of the batch"
            ));
        };
        let (start, count) = resolve(size, start, end, step);
        cuts.push(Cut {
            axis,
            size,
            start,
            step,
            count,
        });
    }
    Ok(cuts)
}

/// Exporters write `x[:, 1:]` with a slice of the batch that ends beyond any batch.
fn keeps_all(dim: Dim, start: Int, end: Int, step: i64) -> bool {
    let to_the_end = match (dim, end) {
        (_, Int::Fixed(end)) if end >= i64::from(i32::MAX) => true,
        (Dim::Batch(size), Int::Batch(end)) => end as u64 >= size && end > 0,
        _ => false,
    };
    start == Int::Fixed(0) && step == 1 && to_the_end
}

/// First index and number of elements, as ONNX clamps them.
fn resolve(size: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let from_front = |index: i64| match index {
        ..0 => index.saturating_add(size),
        _ => index,
    };
    let (start, end) = (from_front(start), from_front(end));
    let (start, end) = match step {
        1.. => (start.clamp(0, size), end.clamp(0, size)),
        _ => (start.clamp(-1, size - 1), end.clamp(-1, size - 1)),
    };
    let way = match step {
        1.. => end - start,
        _ => start - end,
    };
    let step = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    let count = match way {
        ..=0 => 0,
        _ => (way - 1) / step + 1,
    };
    (start, count)
}

/// Axes with a negative step in ascending order.
fn turn(upstream: &str, cuts: &[Cut], graph: &mut GraphBuilder) -> String {
    let down = cuts.iter().filter(|cut| cut.step < 0 && cut.count > 1);
    let axes: Vec<i64> = down.map(|cut| cut.axis as i64).collect();
    if axes.is_empty() {
        return upstream.to_owned();
    }
    let [starts, ends, steps] = [-1, i64::MIN, -1].map(|value| vec![value; axes.len()]);
    let [starts, ends, axes, steps] =
        [starts, ends, axes, steps].map(|values| graph.integers(&values));
    graph.node("Slice", &[upstream, &starts, &ends, &axes, &steps], &[])
}

/// Zeros between elements that were more than one apart.
fn spread(value: String, shape: &[Dim], cuts: &[Cut], graph: &mut GraphBuilder) -> String {
    if cuts.iter().all(|cut| cut.spacing() == 1) {
        return value;
    }
    let sizes = as_reshape(shape);
    let (mut apart, mut after, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, size) in sizes.into_iter().enumerate() {
        apart.push(size);
        after.push(0);
        let cut = cuts.iter().find(|cut| cut.axis == axis);
        joined.push(match cut.map(Cut::spacing) {
            Some(spacing @ 2..) => {
                apart.push(1);
                after.push(spacing - 1);
                size * spacing
            }
            _ => size,
        });
    }
    let value = graph.reshape(&value, &apart);
    let value = graph.pad(&value, &vec![0; after.len()], &after);
    graph.reshape(&value, &joined)
}
