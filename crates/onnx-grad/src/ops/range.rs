//! Range: the numbers from `start` to before `limit` in steps of `delta`, which must be known. It has no
//! gradient.

use super::{Operator, shared_axes};
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Range;

impl Operator for Range {
    fn name(&self) -> &'static str {
        "Range"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let element = site.input(0)?.value_type.element;
        let dim = match element {
            Element::F32 => Dim::Fixed(count_of_floats(site)?),
            _ => count(site)?,
        };
        Ok(vec![ValueType {
            element,
            shape: vec![dim],
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let (Element::I64, Ok(Dim::Fixed(count))) =
            (site.input(0)?.value_type.element, count(site))
        else {
            return Ok(None);
        };
        let [start, _, delta] = bounds(site)?;
        let at = |index: u64| delta.times(Int::Fixed(index as i64))?.plus(start);
        let values: Option<Vec<Int>> = match count <= shared_axes::KNOWN_MAX as u64 {
            true => (0..count).map(at).collect(),
            false => None,
        };
        Ok(values.map(shared_axes::known))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}

fn bounds(site: &Site<'_>) -> Result<[Int; 3], String> {
    let number = |index| shared_axes::known_number(site, index);
    Ok([number(0)?, number(1)?, number(2)?])
}

fn count(site: &Site<'_>) -> Result<Dim, String> {
    let bounds = bounds(site)?;
    let [start, limit, delta] = bounds;
    let fail = || {
        let [start, limit, delta] = bounds;
        format!("counts from {start} to {limit} by {delta}, which is not one or more numbers")
    };
    match bounds.map(Int::fixed) {
        [Some(start), Some(limit), Some(delta)] if delta != 0 => {
            let (way, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
            // Rounded up.
            let count = (way + delta - delta.signum()) / delta;
            u64::try_from(count)
                .ok()
                .filter(|count| *count > 0)
                .map(Dim::Fixed)
                .ok_or_else(fail)
        }
        _ => match limit.plus(start.times(Int::Fixed(-1)).ok_or_else(fail)?) {
            Some(Int::Batch(times @ 1..)) if delta == Int::Fixed(1) => Ok(Dim::Batch(times as u64)),
            _ => Err(fail()),
        },
    }
}

fn count_of_floats(site: &Site<'_>) -> Result<u64, String> {
    let number = |index: usize| {
        let known = site.input(index)?.constant.as_ref();
        match known.and_then(Tensor::floats) {
            Some([number]) => Ok(f64::from(*number)),
            _ => Err(format!(
                "its input {index} must be one number that is known when the model is read"
            )),
        }
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / delta).ceil();
    match (1.0..1e9).contains(&count) {
        true => Ok(count as u64),
        false => Err(format!(
            "counts from {start} to {limit} by {delta}, which is not one or more numbers"
        )),
    }
}
