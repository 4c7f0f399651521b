//! Pow: `c = aᵇ`, broadcasting; the exponent may be of whole numbers. Saves `a`, `b` and `c`, and less
//! where the exponent is a known number: `a` alone, or `c` alone for a square root.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::shape::{Element, ValueType};
use crate::tensor::Data;

pub(crate) struct Pow;

impl Operator for Pow {
    fn name(&self) -> &'static str {
        "Pow"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        shared::number(site, 1)?;
        Ok(vec![ValueType {
            element: shared::number(site, 0)?,
            shape: shared::broadcast_shape(site, 0..2)?,
        }])
    }

    /// `da = dc·b·aᵇ⁻¹`, `db = dc·c·ln a`; 0 where `b` is 0, or where `a` and `c` are.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (a, c) = (&site.input(0)?.name, &site.output()?.name);
        let exponent = site.input(1)?;
        let known = known_exponent(site)?;
        shared::broadcast_gradients(
            site,
            graph,
            |graph| {
                let slope = match known {
                    Some(known) => known_slope(a, c, known, graph),
                    None => slope(a, exponent, graph),
                };
                graph.node("Mul", &[upstream, &slope], &[])
            },
            |graph| {
                let (zero, one) = (graph.scalar(0.0), graph.scalar(1.0));
                let vanishes = graph.node("Equal", &[a, &zero], &[]);
                let base = graph.node("Where", &[&vanishes, &one, a], &[]);
                let logarithm = graph.node("Log", &[&base], &[]);
                let slope = graph.node("Mul", &[c, &logarithm], &[]);
                graph.node("Mul", &[upstream, &slope], &[])
            },
        )
    }
}

/// The exponent, where it is one number that training does not move.
fn known_exponent(site: &Site<'_>) -> Result<Option<f32>, String> {
    let exponent = site.input(1)?;
    if site.wants(1) {
        return Ok(None);
    }
    Ok(match exponent.constant.as_ref().map(|own| &own.data) {
        Some(Data::F32(values)) => single(values),
        Some(Data::I64(values)) => single(values).map(|number| number as f32),
        _ => None,
    })
}

fn single<T: Copy>(values: &[T]) -> Option<T> {
    match values {
        &[single] => Some(single),
        _ => None,
    }
}

/// `b·aᵇ⁻¹` for a known `b`, without the runtime's slow power where a product will do.
fn known_slope(a: &str, c: &str, exponent: f32, graph: &mut GraphBuilder) -> String {
    let factor = graph.scalar(exponent);
    if exponent == 0.0 || exponent == 1.0 {
        return factor;
    }
    if exponent == 0.5 {
        return graph.node("Div", &[&factor, c], &[]);
    }
    let power = match exponent - 1.0 {
        1.0 => a.to_owned(),
        2.0 => graph.node("Mul", &[a, a], &[]),
        less => {
            let less = graph.scalar(less);
            graph.node("Pow", &[a, &less], &[])
        }
    };
    graph.node("Mul", &[&factor, &power], &[])
}

/// `b·aᵇ⁻¹`, and 0 where `b` is 0, whatever `a`.
fn slope(a: &str, exponent: &Value, graph: &mut GraphBuilder) -> String {
    let (zero, one) = (graph.scalar(0.0), graph.scalar(1.0));
    let b = match exponent.value_type.element {
        Element::F32 => exponent.name.clone(),
        _ => graph.cast(&exponent.name, Element::F32),
    };
    // In place of −1, which would make 0·∞ of the gradient where `a` is 0 as well.
    let is_zero = graph.node("Equal", &[&b, &zero], &[]);
    let less = graph.node("Sub", &[&b, &one], &[]);
    let less = graph.node("Where", &[&is_zero, &one, &less], &[]);
    let power = graph.node("Pow", &[a, &less], &[]);
    graph.node("Mul", &[&b, &power], &[])
}
