//! Federations in which much goes wrong, as their seeds have it.

use fl_sim::{Scenario, World};

/// Seeds of an ordinary run; `FL_SIM_SEEDS` takes another number, `FL_SIM_FIRST` begins elsewhere.
const SEEDS: u64 = 1_000;

/// Lines of the story that are shown where a promise was broken.
const STORY_LINES: usize = 200;

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => otherwise,
    }
}

#[test]
fn no_promise_is_broken_whatever_goes_wrong() {
    let first = setting("FL_SIM_FIRST", 0);
    for seed in first..first + setting("FL_SIM_SEEDS", SEEDS) {
        let scenario = Scenario::stormy(seed);
        if World::run(&scenario).is_ok() {
            continue;
        }
        let (again, story) = World::told(&scenario);
        let violation = again.expect_err("the same scenario takes the same course");
        let tail = &story[story.len().saturating_sub(STORY_LINES)..];
        panic!(
            "{}\n{scenario:#?}\n{violation}\nagain: FL_SIM_FIRST={seed} FL_SIM_SEEDS=1 cargo test -p fl-sim",
            tail.join("\n")
        );
    }
}
