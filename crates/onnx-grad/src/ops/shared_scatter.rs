//! What ScatterElements and ScatterND do alike.

use super::InputGradients;
use crate::attributes::text_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;

/// Whether updates are added rather than put in place of what is there.
pub(super) fn adds(site: &Site<'_>) -> Result<bool, String> {
    match text_or(site.proto, "reduction", "none") {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(format!("reduces by `{other}`; supported are none and add")),
    }
}

/// Gradients of the value and of the updates; `gather` reads `dy` at the indices, `clear` puts zeros there.
pub(super) fn gradients(
    site: &Site<'_>,
    upstream: &str,
    graph: &mut GraphBuilder,
    gather: impl FnOnce(&mut GraphBuilder) -> String,
    clear: impl FnOnce(&str, &mut GraphBuilder) -> String,
) -> Result<InputGradients, String> {
    let mut gradients = vec![None, None, None];
    if site.wants(0) {
        gradients[0] = Some(match adds(site)? {
            true => upstream.to_owned(),
            false => {
                let zeros = graph.zeros_like(site.input(2)?);
                clear(&zeros, graph)
            }
        });
    }
    if site.wants(2) {
        gradients[2] = Some(gather(graph));
    }
    Ok(gradients)
}
