//! Dropout (Srivastava et al., 2014): in training `y = x·mask/(1 − ratio)` with a mask that is 0 with
//! probability `ratio`, drawn by the trainer from its seed for every step; in evaluation `y = x`. Saves the
//! scaled mask.

use super::{InputGradients, Operator};
use crate::attributes::int;
use crate::builder::{GraphBuilder, Noise};
use crate::graph::Site;
use crate::shape::{Element, ValueType};
use crate::tensor::Data;

/// Where the node does not say, from the ONNX specification.
const RATIO_DEFAULT: f32 = 0.5;

pub(crate) struct Dropout;

impl Operator for Dropout {
    fn name(&self) -> &'static str {
        "Dropout"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        ratio(site)?;
        let shape = site.float(0)?.shape().clone();
        let mask = ValueType {
            element: Element::Bool,
            shape: shape.clone(),
        };
        Ok(vec![ValueType::f32(shape), mask])
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let keep = 1.0 - ratio(site)?;
        if keep == 1.0 {
            return Ok(false);
        }
        let (x, y) = (site.input(0)?, &site.output()?.name);
        let input = graph.fresh("fl.keep");
        let shape = x.shape().clone();
        graph.noise.push(Noise {
            input: input.clone(),
            shape,
            keep,
        });
        let stretch = graph.scalar(keep.recip());
        let mask = graph.node("Mul", &[&input, &stretch], &[]);
        graph.node_into("Mul", &[&x.name, &mask], &[], y.clone());
        graph.save(y, "mask", mask);
        if let Some(kept) = site.optional_output(1) {
            let to = [int("to", i64::from(Element::Bool.to_proto()))];
            graph.node_into("Cast", &[&input], &to, kept.name.clone());
        }
        Ok(true)
    }

    /// A model exported in training mode says so by a third input; without it nothing is dropped.
    fn evaluate(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let mut node = site.proto.clone();
        node.input.truncate(2);
        graph.nodes.push(node);
        Ok(true)
    }

    /// `dx = dy·mask/(1 − ratio)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        if ratio(site)? == 0.0 {
            return Ok(vec![Some(upstream.to_owned())]);
        }
        let mask = graph.saved(&site.output()?.name, "mask")?;
        Ok(vec![Some(graph.node("Mul", &[upstream, &mask], &[]))])
    }
}

fn ratio(site: &Site<'_>) -> Result<f32, String> {
    let Some(value) = site.optional(1) else {
        return Ok(RATIO_DEFAULT);
    };
    let known = value
        .constant
        .as_ref()
        .and_then(|tensor| match &tensor.data {
            Data::F32(values) if values.len() == 1 => values.first().copied(),
            _ => None,
        });
    match known {
        Some(ratio) if (0.0..1.0).contains(&ratio) => Ok(ratio),
        Some(ratio) => Err(format!(
            "its ratio is {ratio}; it must be at least 0 and less than 1"
        )),
        None => Err(format!(
            "its ratio `{}` must be one float32 number that is known when the model is read",
            value.name
        )),
    }
}
