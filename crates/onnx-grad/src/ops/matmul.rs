//! MatMul: `C = A·B` over the last two axes, broadcasting those before, as numpy does. Saves `A` and `B`.

use super::{InputGradients, Operator, shared};
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, as_reshape, broadcast, show};

pub(crate) struct MatMul;

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let product = Product::new(site)?;
        let mut shape = product.full;
        if site.float(1)?.shape().len() == 1 {
            shape.pop();
        }
        if site.float(0)?.shape().len() == 1 {
            shape.remove(
                shape.len()
                    - if site.float(1)?.shape().len() == 1 {
                        1
                    } else {
                        2
                    },
            );
        }
        Ok(vec![ValueType::f32(shape)])
    }

    /// A multiplication and an addition for every element of the output and of the inner dimension.
    fn flops(&self, site: &Site<'_>) -> u64 {
        shared::product_flops(
            site,
            Product::new(site).map(|product| product.left[product.left.len() - 1]),
        )
    }

    /// `dA = dC·Bᵀ`, `dB = Aᵀ·dC`, each summed over what was broadcast.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let product = Product::new(site)?;
        let (a, b) = (site.input(0)?, site.input(1)?);
        // A vector takes part as a matrix with one row or one column.
        let as_matrix =
            |name: &str, own: &Shape, matrix: &Shape, graph: &mut GraphBuilder| match own == matrix
            {
                true => name.to_owned(),
                false => graph.reshape(name, &as_reshape(matrix)),
            };
        let upstream = as_matrix(upstream, site.output()?.shape(), &product.full, graph);
        let mut gradients = vec![None, None];
        if site.wants(0) {
            let b = as_matrix(&b.name, b.shape(), &product.right, graph);
            let whole = match product.right.len() {
                2 => multiply_flat(&upstream, &b, &product, graph),
                rank => {
                    let b = swap_last(&b, rank, graph);
                    let whole = graph.node("MatMul", &[&upstream, &b], &[]);
                    let from = with_last(&product.full, &product.left);
                    graph.unbroadcast(&whole, &from, &product.left)
                }
            };
            gradients[0] = Some(as_matrix(&whole, &product.left, a.shape(), graph));
        }
        if site.wants(1) {
            let a = as_matrix(&a.name, a.shape(), &product.left, graph);
            let whole = match product.right.len() {
                2 => weight_gradient(&a, &upstream, &product, graph),
                _ => {
                    let a = swap_last(&a, product.left.len(), graph);
                    let whole = graph.node("MatMul", &[&a, &upstream], &[]);
                    let from = with_last(&product.full, &product.right);
                    graph.unbroadcast(&whole, &from, &product.right)
                }
            };
            gradients[1] = Some(as_matrix(&whole, &product.right, b.shape(), graph));
        }
        Ok(gradients)
    }
}

/// Shapes of the operands as matrices, and of the product before axes of vectors are dropped.
struct Product {
    left: Shape,
    right: Shape,
    full: Shape,
}

impl Product {
    fn new(site: &Site<'_>) -> Result<Self, String> {
        let mut left = site.float(0)?.shape().clone();
        let mut right = site.float(1)?.shape().clone();
        let fail = || format!("cannot multiply {} by {}", show(&left), show(&right));
        if left.is_empty() || right.is_empty() {
            return Err(fail());
        }
        if left.len() == 1 {
            left.insert(0, Dim::Fixed(1));
        }
        if right.len() == 1 {
            right.push(Dim::Fixed(1));
        }
        let (outer_left, inner_left) = left.split_at(left.len() - 2);
        let (outer_right, inner_right) = right.split_at(right.len() - 2);
        if inner_left[1] != inner_right[0] || !matches!(inner_left[1], Dim::Fixed(_)) {
            return Err(format!(
                "cannot multiply {} by {}",
                show(&left),
                show(&right)
            ));
        }
        let mut full = broadcast(outer_left, outer_right)?;
        full.extend([inner_left[0], inner_right[1]]);
        Ok(Self { left, right, full })
    }
}

/// The product's outer axes with an operand's last two.
fn with_last(full: &Shape, operand: &Shape) -> Shape {
    let outer = full[..full.len() - 2].iter();
    outer
        .chain(&operand[operand.len() - 2..])
        .copied()
        .collect()
}

/// The last two axes exchanged.
fn swap_last(value: &str, rank: usize, graph: &mut GraphBuilder) -> String {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(rank - 1, rank - 2);
    graph.transpose(value, &order)
}

/// `upstream·Bᵀ` for a matrix B, which was broadcast over all rows of A.
fn multiply_flat(upstream: &str, b: &str, product: &Product, graph: &mut GraphBuilder) -> String {
    let rank = product.full.len();
    if rank == 2 {
        return graph.node("Gemm", &[upstream, b], &[int("transB", 1)]);
    }
    let b = swap_last(b, 2, graph);
    graph.node("MatMul", &[upstream, &b], &[])
}

/// `Aᵀ·upstream` summed over all rows, for a matrix B: one product of two tall matrices.
fn weight_gradient(a: &str, upstream: &str, product: &Product, graph: &mut GraphBuilder) -> String {
    let flat =
        |value: &str, shape: &Shape, graph: &mut GraphBuilder| match (shape.len(), shape.last()) {
            (3.., Some(Dim::Fixed(columns))) => graph.reshape(value, &[-1, *columns as i64]),
            _ => value.to_owned(),
        };
    let a = flat(a, &product.left, graph);
    let upstream = flat(upstream, &product.full, graph);
    graph.node("Gemm", &[&a, &upstream], &[int("transA", 1)])
}
