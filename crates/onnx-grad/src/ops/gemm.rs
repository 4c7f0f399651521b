//! Gemm: `y = alpha·A'·B' + beta·C`, where `'` is an optional transpose. Saves `A` and `B`.

use super::{InputGradients, Operator, shared};
use crate::attributes::{float, float_or, int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::shape::{Dim, Shape, ValueType, broadcast, show};

pub(crate) struct Gemm;

impl Operator for Gemm {
    fn name(&self) -> &'static str {
        "Gemm"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let (rows, inner_a) = matrix(site.float(0)?, flag(site, "transA"))?;
        let (inner_b, columns) = matrix(site.float(1)?, flag(site, "transB"))?;
        if inner_a != inner_b || !matches!(inner_a, Dim::Fixed(_)) {
            return Err(format!(
                "cannot multiply over dimensions {inner_a} and {inner_b}"
            ));
        }
        let shape: Shape = vec![rows, columns];
        if site.optional(2).is_some() {
            let bias = site.float(2)?.shape();
            if broadcast(bias, &shape).as_ref() != Ok(&shape) {
                return Err(format!(
                    "its bias {} does not broadcast to {}",
                    show(bias),
                    show(&shape)
                ));
            }
        }
        Ok(vec![ValueType::f32(shape)])
    }

    /// A multiplication and an addition for every element of the output and of the inner dimension.
    fn flops(&self, site: &Site<'_>) -> u64 {
        let inner = usize::from(!flag(site, "transA"));
        let dim = site
            .float(0)
            .and_then(|a| a.shape().get(inner).copied().ok_or_else(String::new));
        shared::product_flops(site, dim)
    }

    /// `dA' = alpha·dy·B'ᵀ`, `dB' = alpha·A'ᵀ·dy`, `dC = beta·dy` summed over what was broadcast.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (a, b) = (&site.input(0)?.name, &site.input(1)?.name);
        let (trans_a, trans_b) = (flag(site, "transA"), flag(site, "transB"));
        let alpha = float_or(site.proto, "alpha", 1.0);
        let mut multiply = |left: &str, trans_left: bool, right: &str, trans_right: bool| {
            let mut attributes = vec![
                int("transA", i64::from(trans_left)),
                int("transB", i64::from(trans_right)),
            ];
            if alpha != 1.0 {
                attributes.push(float("alpha", alpha));
            }
            graph.node("Gemm", &[left, right], &attributes)
        };
        let da = site.wants(0).then(|| match trans_a {
            false => multiply(upstream, false, b, !trans_b),
            true => multiply(b, trans_b, upstream, true),
        });
        let db = site.wants(1).then(|| match trans_b {
            false => multiply(a, !trans_a, upstream, false),
            true => multiply(upstream, true, a, trans_a),
        });
        let dc = match site.optional(2) {
            Some(bias) if site.wants(2) => Some(bias_gradient(site, bias, upstream, graph)?),
            _ => None,
        };
        Ok(vec![da, db, dc])
    }
}

fn bias_gradient(
    site: &Site<'_>,
    bias: &Value,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<String, String> {
    let sum = graph.unbroadcast(upstream, site.output()?.shape(), bias.shape());
    let beta = float_or(site.proto, "beta", 1.0);
    if beta == 1.0 {
        return Ok(sum);
    }
    let beta = graph.scalar(beta);
    Ok(graph.node("Mul", &[&sum, &beta], &[]))
}

fn flag(site: &Site<'_>, name: &str) -> bool {
    int_or(site.proto, name, 0) != 0
}

/// Rows and columns as they are multiplied.
fn matrix(value: &Value, transposed: bool) -> Result<(Dim, Dim), String> {
    match value.shape()[..] {
        [rows, columns] if transposed => Ok((columns, rows)),
        [rows, columns] => Ok((rows, columns)),
        _ => Err(format!(
            "`{}` has the shape {}, a matrix is expected",
            value.name,
            show(value.shape())
        )),
    }
}
