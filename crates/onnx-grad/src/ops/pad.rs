//! Pad: a border along some axes, of a constant, of the value mirrored at its edge (`reflect`), of the edge
//! itself, or of the value's other end (`wrap`). Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::attributes::text_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, ValueType, show};
use shared_axes::Matrix;

/// First operator set that has the mode `wrap`.
const WRAP_SINCE: i64 = 19;

pub(crate) struct Pad;

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        // The axes came with operator set 18.
        site.at_most_inputs(if site.opset < 18 { 3 } else { 4 })?;
        site.float(0)?;
        let mode = mode(site)?;
        let mut shape = site.input(0)?.shape().clone();
        for border in borders(site)? {
            border.check(mode, &shape)?;
            shape[border.axis] = Dim::Fixed(border.padded() as u64);
        }
        shared_axes::moved_into(site, shape)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` without its border; what the border copied is added by a product with the transposed
    /// matrix of the padding along each axis.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let borders = borders(site)?;
        let mut shape = site.output()?.shape().clone();
        let mode = mode(site)?;
        if mode == Mode::Constant {
            return Ok(vec![Some(cut(upstream, &borders, shape.len(), graph))]);
        }
        let mut gradient = upstream.to_owned();
        for border in borders {
            let matrix = border.transposed(mode).ok_or("its borders are too large")?;
            gradient = shared_axes::multiply_axis(&gradient, &shape, border.axis, &matrix, graph);
            shape[border.axis] = Dim::Fixed(border.size as u64);
        }
        Ok(vec![Some(gradient)])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

fn mode(site: &Site<'_>) -> Result<Mode, String> {
    match text_or(site.proto, "mode", "constant") {
        "constant" => Ok(Mode::Constant),
        "reflect" => Ok(Mode::Reflect),
        "edge" => Ok(Mode::Edge),
        "wrap" if site.opset >= WRAP_SINCE => Ok(Mode::Wrap),
        other => Err(format!(
            "pads in the mode `{other}`; supported are constant, reflect, edge and, from opset {WRAP_SINCE} on, wrap"
        )),
    }
}

/// What is put before and after along one axis; less than 0 takes away.
struct Border {
    axis: usize,
    size: i64,
    before: i64,
    after: i64,
}

impl Border {
    fn padded(&self) -> i64 {
        self.size + self.before + self.after
    }

    fn check(&self, mode: Mode, shape: &[Dim]) -> Result<(), String> {
        let allowed = match mode {
            // What is taken away must be there.
            Mode::Constant => self.size + self.before.min(0) + self.after.min(0) > 0,
            Mode::Edge => self.before >= 0 && self.after >= 0,
            Mode::Reflect => {
                let inside = 0..self.size;
                inside.contains(&self.before) && inside.contains(&self.after)
            }
            Mode::Wrap => {
                let around = 0..=self.size;
                around.contains(&self.before) && around.contains(&self.after)
            }
        };
        match allowed {
            true => Ok(()),
            false => Err(format!(
                "cannot pad axis {} of {} by {} and {}",
                self.axis,
                show(shape),
                self.before,
                self.after
            )),
        }
    }

    /// `[size, padded]`, with a 1 where an element of the input went.
    fn transposed(&self, mode: Mode) -> Option<Matrix> {
        let mut matrix = Matrix::zeros(self.size as u64, self.padded() as u64)?;
        for at in 0..self.padded() {
            let last = self.size - 1;
            let from = match (mode, at - self.before) {
                (Mode::Reflect, from @ ..0) => -from,
                (Mode::Reflect, from) if from > last => 2 * last - from,
                (Mode::Wrap, from) => from.rem_euclid(self.size),
                (_, from) => from.clamp(0, last),
            };
            matrix.add(from as u64, at as u64, 1.0);
        }
        Some(matrix)
    }
}

/// The borders that are not empty.
fn borders(site: &Site<'_>) -> Result<Vec<Border>, String> {
    let shape = site.input(0)?.shape();
    let pads = site.fixed_ints(1)?.ok_or("input 1 is missing")?;
    let axes = match site.fixed_ints(3)? {
        Some(axes) => shared_axes::distinct_axes(&axes, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!(
            "has {} pads for {} axes, two for each are expected",
            pads.len(),
            axes.len()
        ));
    }
    let (before, after) = pads.split_at(axes.len());
    let mut borders = Vec::new();
    for ((axis, &before), &after) in axes.into_iter().zip(before).zip(after) {
        if (before, after) == (0, 0) {
            continue;
        }
        let size = shared_axes::fixed_size(shape, axis, "pads")? as i64;
        // Sums of three such numbers do not overflow.
        let bounded = |count: i64| count.unsigned_abs() <= u64::from(u32::MAX);
        if !bounded(before) || !bounded(after) {
            return Err(format!("cannot pad axis {axis} by {before} and {after}"));
        }
        borders.push(Border {
            axis,
            size,
            before,
            after,
        });
    }
    Ok(borders)
}

/// A gradient without the borders; zeros where the operator took elements away.
fn cut(upstream: &str, borders: &[Border], rank: usize, graph: &mut GraphBuilder) -> String {
    if borders.is_empty() {
        return upstream.to_owned();
    }
    if borders.iter().all(|own| own.before >= 0 && own.after >= 0) {
        let of = |value: fn(&Border) -> i64| borders.iter().map(value).collect::<Vec<_>>();
        let (axes, starts) = (of(|own| own.axis as i64), of(|own| own.before));
        let ends = of(|own| own.before + own.size);
        return graph.slice(upstream, &axes, &starts, &ends);
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for own in borders {
        before[own.axis] = -own.before;
        after[own.axis] = -own.after;
    }
    graph.pad(upstream, &before, &after)
}
