//! Einsum: a product of values summed over the labels that the output does not have, `ij,jk->ik` for one.
//! An ellipsis stands for the same number of axes in each operand. Saves all operands.

use std::collections::BTreeMap;

use super::{InputGradients, Operator};
use crate::attributes::{text, text_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, as_reshape, elements_per_example, show};

pub(crate) struct Einsum;

impl Operator for Einsum {
    fn name(&self) -> &'static str {
        "Einsum"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let equation = Equation::new(site)?;
        let sizes = equation.sizes(site)?;
        let dim = |label: &char| sizes.get(label).copied();
        let shape: Option<Shape> = equation.output.iter().map(dim).collect();
        let shape = shape.ok_or("its output has a label that no operand has")?;
        let lost = sizes
            .iter()
            .find(|(label, dim)| matches!(dim, Dim::Batch(_)) && !equation.output.contains(label));
        match lost {
            None => Ok(vec![ValueType::f32(shape)]),
            Some((label, _)) => Err(format!(
                "sums over `{label}`, the batch, which mixes examples; keep that label in the output"
            )),
        }
    }

    /// For every combination of the labels a product of all operands, and an addition.
    fn flops(&self, site: &Site<'_>) -> u64 {
        let sizes = Equation::new(site).and_then(|own| Ok((own.sizes(site)?, own.operands.len())));
        sizes.map_or(0, |(sizes, operands)| {
            let shape: Shape = sizes.into_values().collect();
            let combinations = elements_per_example(&shape).unwrap_or(u64::MAX);
            combinations.saturating_mul(operands as u64)
        })
    }

    /// Each operand's gradient is the Einsum of `dy` and the other operands, with the operand's labels as
    /// output. Where it alone had a label, which was summed over, its gradient is the same all along it.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let equation = Equation::new(site)?;
        let mut gradients = vec![None; equation.operands.len()];
        for (index, own) in equation.operands.iter().enumerate() {
            if !site.wants(index) {
                continue;
            }
            let (mut names, mut terms) = (vec![upstream], vec![&equation.output]);
            for (other, labels) in equation.operands.iter().enumerate() {
                if other != index {
                    names.push(&site.input(other)?.name);
                    terms.push(labels);
                }
            }
            let elsewhere = |label: &&char| terms.iter().any(|term| term.contains(label));
            let kept: Vec<char> = own.iter().filter(elsewhere).copied().collect();
            let product = match (&terms[..], &kept) {
                ([term], kept) if *term == kept => upstream.to_owned(),
                (terms, kept) => {
                    let terms: Vec<String> =
                        terms.iter().map(|term| term.iter().collect()).collect();
                    let output: String = kept.iter().collect();
                    let equation = format!("{}->{output}", terms.join(","));
                    graph.node("Einsum", &names, &[text("equation", &equation)])
                }
            };
            let shape = site.input(index)?.shape();
            gradients[index] = Some(spread(product, own, &kept, shape, graph));
        }
        Ok(gradients)
    }
}

/// Repeats a value along the labels that it lacks.
fn spread(
    value: String,
    labels: &[char],
    kept: &[char],
    shape: &[Dim],
    graph: &mut GraphBuilder,
) -> String {
    let lacking = labels.iter().enumerate();
    let axes: Vec<i64> = lacking
        .filter(|(_, label)| !kept.contains(label))
        .map(|(axis, _)| axis as i64)
        .collect();
    if axes.is_empty() {
        return value;
    }
    // 1 keeps the batch as it is.
    let sizes: Vec<i64> = as_reshape(shape).into_iter().map(i64::abs).collect();
    let [axes, sizes] = [axes, sizes].map(|values| graph.integers(&values));
    let value = graph.node("Unsqueeze", &[&value, &axes], &[]);
    graph.node("Expand", &[&value, &sizes], &[])
}

/// The labels of the operands' axes and of the output's.
struct Equation {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Equation {
    fn new(site: &Site<'_>) -> Result<Self, String> {
        let text: String = text_or(site.proto, "equation", "")
            .chars()
            .filter(|letter| !letter.is_whitespace())
            .collect();
        let fail = |reason: String| Err(format!("its equation `{text}` {reason}"));
        let (operands, output) = match text.split_once("->") {
            Some((operands, output)) => (operands, Some(output)),
            None => (&text[..], None),
        };
        let terms: Vec<&str> = operands.split(',').collect();
        if terms.len() != site.proto.input.len() {
            return fail(format!(
                "has {} operands for {} inputs",
                terms.len(),
                site.proto.input.len()
            ));
        }
        let hidden = Hidden::new(site, &text, &terms)?;
        let mut labels = Vec::with_capacity(terms.len());
        for term in &terms {
            labels.push(hidden.labels(term)?);
        }
        let output = match output {
            Some(output) => hidden.labels(output)?,
            None => implicit(&labels, &hidden.axes),
        };
        for term in labels.iter().chain([&output]) {
            let twice = (0..term.len()).find(|&at| term[..at].contains(&term[at]));
            if let Some(at) = twice {
                return fail(format!(
                    "has `{}` twice in one term; diagonals are not supported",
                    term[at]
                ));
            }
        }
        Ok(Self {
            operands: labels,
            output,
        })
    }

    /// Every label's size, which all operands must have alike.
    fn sizes(&self, site: &Site<'_>) -> Result<BTreeMap<char, Dim>, String> {
        let mut sizes = BTreeMap::new();
        for (index, labels) in self.operands.iter().enumerate() {
            let shape = site.float(index)?.shape();
            if shape.len() != labels.len() {
                return Err(format!(
                    "its input {index} is {}, {} axes are expected",
                    show(shape),
                    labels.len()
                ));
            }
            for (label, dim) in labels.iter().zip(shape) {
                let first = *sizes.entry(*label).or_insert(*dim);
                if first != *dim {
                    return Err(format!("its label `{label}` is both {first} and {dim}"));
                }
            }
        }
        Ok(sizes)
    }
}

/// Labels for the axes that an ellipsis stands for.
struct Hidden {
    axes: Vec<char>,
}

impl Hidden {
    fn new(site: &Site<'_>, equation: &str, terms: &[&str]) -> Result<Self, String> {
        let mut count = 0;
        for (index, term) in terms.iter().enumerate() {
            let rank = site.input(index)?.shape().len();
            if let Some(named) = term.contains("...").then(|| term.replace("...", "").len()) {
                let own = rank.checked_sub(named);
                count = match own {
                    Some(own) if count == 0 || own == count => own,
                    _ => {
                        return Err(format!(
                            "its equation `{equation}` has ellipses of different lengths"
                        ));
                    }
                };
            }
        }
        let unused = ('A'..='Z').chain('a'..='z');
        let axes: Vec<char> = unused
            .filter(|letter| !equation.contains(*letter))
            .take(count)
            .collect();
        match axes.len() == count {
            true => Ok(Self { axes }),
            false => Err(format!("its equation `{equation}` has too many labels")),
        }
    }

    fn labels(&self, term: &str) -> Result<Vec<char>, String> {
        let whole: String = self.axes.iter().collect();
        let spelt = term.replacen("...", &whole, 1);
        match spelt.chars().find(|letter| !letter.is_ascii_alphabetic()) {
            None => Ok(spelt.chars().collect()),
            Some(other) => Err(format!(
                "its term `{term}` has `{other}`; letters and one ellipsis are expected"
            )),
        }
    }
}

/// The output that the equation does not name: the ellipsis, and in the order of the alphabet the labels
/// that occur once.
fn implicit(operands: &[Vec<char>], hidden: &[char]) -> Vec<char> {
    let all = operands.concat();
    let occurs_once = |label: &char| all.iter().filter(|other| *other == label).count() == 1;
    let mut once: Vec<char> = all
        .iter()
        .copied()
        .filter(|label| occurs_once(label) && !hidden.contains(label))
        .collect();
    once.sort_unstable();
    [hidden, &once].concat()
}
