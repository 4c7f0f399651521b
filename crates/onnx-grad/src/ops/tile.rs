//! Tile: a value repeated whole, so many times along each axis. Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, as_reshape, show};

pub(crate) struct Tile;

impl Operator for Tile {
    fn name(&self) -> &'static str {
        "Tile"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let shape = site.input(0)?.shape();
        let mut tiled = Shape::new();
        for (axis, times) in repeats(site)?.into_iter().enumerate() {
            if times == Dim::Fixed(1) {
                tiled.push(shape[axis]);
                continue;
            }
            let size = shared_axes::fixed_size(shape, axis, "repeats")?;
            let dim = match times {
                Dim::Fixed(times) => times.checked_mul(size).map(Dim::Fixed),
                Dim::Batch(times) => times.checked_mul(size).map(Dim::Batch),
            };
            tiled.push(dim.ok_or("its sizes overflow")?);
        }
        shared_axes::moved_into(site, tiled)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` with the repetitions as axes of their own, summed over these.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let shape = site.input(0)?.shape();
        let (mut apart, mut summed) = (Shape::new(), Vec::new());
        for (times, dim) in repeats(site)?.into_iter().zip(shape) {
            if times != Dim::Fixed(1) {
                summed.push(apart.len() as i64);
                apart.push(times);
            }
            apart.push(*dim);
        }
        if summed.is_empty() {
            return Ok(vec![Some(upstream.to_owned())]);
        }
        let apart = graph.reshape(upstream, &as_reshape(&apart));
        Ok(vec![Some(graph.reduce_sum(&apart, &summed, false))])
    }
}

fn repeats(site: &Site<'_>) -> Result<Shape, String> {
    let shape = site.input(0)?.shape();
    let repeats = shared_axes::shape_of(&site.ints(1)?.ok_or("input 1 is missing")?)?;
    match repeats.len() == shape.len() {
        true => Ok(repeats),
        false => Err(format!("has {} repeats for {}", repeats.len(), show(shape))),
    }
}
