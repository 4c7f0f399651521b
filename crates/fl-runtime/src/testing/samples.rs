//! Samples of settings and jobs, which must name everything that can be set.

use serde::de::DeserializeOwned;

use crate::settings::{self, SettingsError};

/// Begins a line of a sample that shows a key in a comment.
const MARK: &str = "#:";

/// Like no key of ours, so that the refusal lists all of them instead of the nearest.
const UNKNOWN: &str = "qqqqqqqq";

/// A sample with every key that it shows in a comment.
pub fn uncommented(sample: &str) -> String {
    let take_off = |line: &str| match line.strip_prefix(MARK) {
        Some(rest) => format!("{}\n", rest.trim_start()),
        None => format!("{line}\n"),
    };
    sample.lines().map(take_off).collect()
}

/// Asserts that `sample` names every key that a `T` takes in each of `sections`, of which the empty one
/// is the top. The types themselves say which these are.
pub fn assert_names_every_key<T: DeserializeOwned>(sample: &str, sections: &[&str]) {
    let all = uncommented(sample);
    for section in sections {
        let keys = keys_of::<T>(section);
        assert!(!keys.is_empty(), "nothing can be set in [{section}]");
        let lines = lines_of(&all, section);
        for key in keys {
            let full = match *section {
                "" => key.clone(),
                section => format!("{section}.{key}"),
            };
            let is_set = lines.iter().any(|line| {
                let value = line.strip_prefix(&key);
                value.is_some_and(|value| value.trim_start().starts_with('='))
            });
            let is_section = all.lines().any(|line| line == format!("[{full}]"));
            assert!(is_set || is_section, "the sample does not name {full}");
        }
    }
}

fn keys_of<T: DeserializeOwned>(section: &str) -> Vec<String> {
    let text = match section {
        "" => format!("{UNKNOWN} = 1"),
        section => format!("[{section}]\n{UNKNOWN} = 1"),
    };
    match settings::parse::<T>(&text, "a probe").err() {
        Some(SettingsError::UnknownKey { hint, .. }) => {
            let keys = hint.trim_start_matches("known there: ").split(", ");
            keys.map(str::to_owned).collect()
        }
        other => panic!("[{section}] does not refuse an unknown key: {other:?}"),
    }
}

fn lines_of<'a>(text: &'a str, section: &str) -> Vec<&'a str> {
    let mut current = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        match line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(name) => current = name,
            None if current == section => lines.push(line),
            None => {}
        }
    }
    lines
}
