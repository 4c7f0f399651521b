//! Mod: `c = a − b·q` with the whole quotient `q` of `a/b`, broadcasting. For whole numbers `q` is
//! rounded down, or, with `fmod = 1`, towards 0, which alone is defined for floats. Saves `a`, `b` and
//! `c`.

use super::{InputGradients, Operator, shared};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Mod;

impl Operator for Mod {
    fn name(&self) -> &'static str {
        "Mod"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let types = shared::infer_broadcast(site)?;
        let is_float = site.input(0)?.value_type.element == Element::F32;
        if is_float && !rounds_towards_zero(site) {
            return Err("it divides floats, for which its fmod must be 1".to_owned());
        }
        Ok(types)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let towards_zero = rounds_towards_zero(site);
        shared::known_broadcast(site, |a, b| {
            let (a, b) = (a.fixed()?, b.fixed()?);
            let rest = a.checked_rem(b)?;
            let goes_down = !towards_zero && rest != 0 && (rest < 0) != (b < 0);
            Some(Int::Fixed(if goes_down {
                rest.checked_add(b)?
            } else {
                rest
            }))
        })
    }

    /// `da = dc`, `db = −dc·q = dc·(c − a)/b`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (a, b) = (&site.input(0)?.name, &site.input(1)?.name);
        let c = &site.output()?.name;
        shared::broadcast_gradients(
            site,
            graph,
            |_| upstream.to_owned(),
            |graph| {
                let multiple = graph.node("Sub", &[c, a], &[]);
                let quotient = graph.node("Div", &[&multiple, b], &[]);
                graph.node("Mul", &[upstream, &quotient], &[])
            },
        )
    }
}

fn rounds_towards_zero(site: &Site<'_>) -> bool {
    int_or(site.proto, "fmod", 0) == 1
}
