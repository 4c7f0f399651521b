//! LayerNormalization (Ba, Kiros and Hinton, "Layer Normalization", 2016): `y = scale·(x − mean)/√(variance +
//! epsilon) + bias`, with mean and population variance over `axis` and those behind it. Saves the mean and
//! the inverse deviation, which the runtime's kernel gives.

use super::shared_normalization::{normalized_gradient, reduced};
use super::{InputGradients, Operator};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Shape, ValueType, elements_per_example, normalize_axis, show};

pub(crate) struct LayerNormalization;

impl Operator for LayerNormalization {
    fn name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn since(&self) -> i64 {
        17
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let axis = axis(site)?;
        let shape = site.float(0)?.shape();
        let inner: Shape = shape[axis..].to_vec();
        for index in (1..3).filter(|index| *index == 1 || site.optional(*index).is_some()) {
            let own = site.float(index)?.shape();
            if *own != inner {
                return Err(format!(
                    "its input {index} is {}, {} is expected",
                    show(own),
                    show(&inner)
                ));
            }
        }
        let statistic = ValueType::f32(reduced(shape, axis));
        Ok(vec![
            ValueType::f32(shape.clone()),
            statistic.clone(),
            statistic,
        ])
    }

    /// The same node with all its outputs.
    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let y = &site.output()?.name;
        let mut node = site.proto.clone();
        node.output.resize(3, String::new());
        for (output, what) in node.output[1..]
            .iter_mut()
            .zip(["mean", "inverse deviation"])
        {
            if output.is_empty() {
                *output = graph.fresh("fl.LayerNormalization");
            }
            graph.save(y, what, output.clone());
        }
        graph.nodes.push(node);
        Ok(true)
    }

    /// `dscale = Σ dy·h`, `dbias = Σ dy`, and `dx` with `dh = scale·dy`, where `h` is the normalised input.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (x, scale, y) = (site.input(0)?, site.input(1)?, &site.output()?.name);
        let shape = x.shape();
        let inverse_deviation = graph.saved(y, "inverse deviation")?;
        let mut gradients = vec![None, None, None];
        if site.wants(0) || site.wants(1) {
            let mean = graph.saved(y, "mean")?;
            let centred = graph.node("Sub", &[&x.name, &mean], &[]);
            let h = graph.node("Mul", &[&centred, &inverse_deviation], &[]);
            if site.wants(0) {
                let axis = axis(site)?;
                let axes: Vec<i64> = (axis as i64..shape.len() as i64).collect();
                let count = elements_per_example(&shape[axis..]).unwrap_or(1);
                let dh = graph.node("Mul", &[upstream, &scale.name], &[]);
                let over = (&axes[..], count);
                gradients[0] = Some(normalized_gradient(
                    &dh,
                    &h,
                    &inverse_deviation,
                    over,
                    graph,
                ));
            }
            if site.wants(1) {
                let product = graph.node("Mul", &[upstream, &h], &[]);
                gradients[1] = Some(graph.unbroadcast(&product, shape, scale.shape()));
            }
        }
        if site.wants(2) {
            gradients[2] = Some(graph.unbroadcast(upstream, shape, scale.shape()));
        }
        Ok(gradients)
    }
}

fn axis(site: &Site<'_>) -> Result<usize, String> {
    let shape = site.float(0)?.shape();
    let axis = normalize_axis(int_or(site.proto, "axis", -1), shape.len())?;
    match shape[axis..].iter().all(|dim| dim.fixed().is_some()) {
        true => Ok(axis),
        false => Err(format!(
            "it normalises {} from axis {axis} on, over the batch, which mixes examples",
            show(shape)
        )),
    }
}
