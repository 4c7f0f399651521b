//! Which parameters travel, which stay on the device, and which do not move, by patterns of their names.

use fl_model::ModelOptions;
use wildmatch::WildMatch;

use crate::error::ModelError;

/// Names that a message shows for a pattern that fits none.
const NAMES_SHOWN_MAX: usize = 5;

/// What becomes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Shared,
    Local,
    Frozen,
}

/// What becomes of each of the parameters with these names.
pub(super) fn partition(names: &[&str], options: &ModelOptions) -> Result<Vec<Part>, ModelError> {
    let frozen = matching("frozen", &options.frozen, names)?;
    let local = matching("local", &options.local, names)?;
    let each = names.iter().zip(frozen.into_iter().zip(local));
    each.map(|(name, fits)| match fits {
        (true, true) => Err(ModelError::Pattern(format!(
            "frozen and local both name `{name}`; take one"
        ))),
        (true, false) => Ok(Part::Frozen),
        (false, true) => Ok(Part::Local),
        (false, false) => Ok(Part::Shared),
    })
    .collect()
}

/// For each name, whether a pattern fits it; each pattern must fit one.
pub(crate) fn matching(
    key: &str,
    patterns: &[String],
    names: &[&str],
) -> Result<Vec<bool>, ModelError> {
    let mut fits = vec![false; names.len()];
    for pattern in patterns {
        let glob = WildMatch::new(pattern);
        let mut any = false;
        for (fits, name) in fits.iter_mut().zip(names) {
            let own = glob.matches(name);
            (*fits, any) = (*fits || own, any || own);
        }
        if !any {
            return Err(ModelError::Pattern(format!(
                "{key} has `{pattern}`, which no parameter is called; the nearest are {}",
                nearest(pattern, names)
            )));
        }
    }
    Ok(fits)
}

/// The names that are most like the pattern.
fn nearest(pattern: &str, names: &[&str]) -> String {
    let text = pattern.replace(['*', '?'], "");
    let mut ranked: Vec<(f64, &str)> = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&text, name), *name))
        .collect();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    let shown = ranked.iter().take(NAMES_SHOWN_MAX);
    let shown: Vec<String> = shown.map(|(_, name)| format!("`{name}`")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = [
        "encoder.0.weight",
        "encoder.0.bias",
        "head.weight",
        "head.bias",
    ];

    fn options(frozen: &[&str], local: &[&str]) -> ModelOptions {
        let list = |patterns: &[&str]| patterns.iter().map(|&own| own.to_owned()).collect();
        ModelOptions {
            frozen: list(frozen),
            local: list(local),
            ..ModelOptions::PLAIN
        }
    }

    #[test]
    fn patterns_say_what_becomes_of_a_parameter() {
        use Part::{Frozen, Local, Shared};
        let check = |frozen: &[&str], local: &[&str], expected: [Part; 4]| {
            let parts = partition(&NAMES, &options(frozen, local)).unwrap();
            assert_eq!(parts, expected, "{frozen:?} {local:?}");
        };
        check(&[], &[], [Shared; 4]);
        check(&["encoder.*"], &["head.*"], [Frozen, Frozen, Local, Local]);
        check(&["*.bias"], &[], [Shared, Frozen, Shared, Frozen]);
        check(&[], &["head.bias"], [Shared, Shared, Shared, Local]);
        check(&["encoder.?.w*"], &[], [Frozen, Shared, Shared, Shared]);
        check(&["*"], &[], [Frozen; 4]);
    }

    #[test]
    fn a_pattern_that_fits_nothing_is_refused_with_names_like_it() {
        let check = |frozen: &[&str], local: &[&str], parts: &[&str]| {
            let refused = partition(&NAMES, &options(frozen, local));
            let message = refused.unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        };
        check(
            &["encodr.*"],
            &[],
            &["frozen has `encodr.*`", "`encoder.0.bias`"],
        );
        check(
            &[],
            &["heads.weight"],
            &["local has", "nearest are `head.weight`"],
        );
        check(&["Encoder.*"], &[], &["`Encoder.*`"]);
        check(&["head.*"], &["*.bias"], &["both name `head.bias`"]);
    }
}
