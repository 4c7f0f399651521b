use super::*;

/// A workspace in a folder of its own, with `files` in it.
fn sample(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let crates = |name: &str, dependencies: &str| {
        format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n{dependencies}\n")
    };
    let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n";
    let base = [
        ("Cargo.toml", workspace.to_owned()),
        ("crates/fl-model/Cargo.toml", crates("fl-model", "")),
        ("crates/fl-model/src/lib.rs", String::new()),
        (
            "crates/fl-wire/Cargo.toml",
            crates(
                "fl-wire",
                "[dependencies]\nfl-model = { path = \"../fl-model\" }",
            ),
        ),
        ("crates/fl-wire/src/lib.rs", String::new()),
    ];
    let given = files.iter().map(|(path, text)| (*path, (*text).to_owned()));
    for (path, text) in base.into_iter().chain(given) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Expected findings as `path:line` and a part of the message.
fn check(files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let folder = sample(files);
    let found: Vec<String> = super::check(folder.path())
        .unwrap()
        .iter()
        .map(Finding::to_string)
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (finding, (place, part)) in found.iter().zip(expected) {
        assert!(
            finding.starts_with(&format!("{place}: ")),
            "{finding} is not at {place}"
        );
        assert!(finding.contains(part), "{finding} lacks {part:?}");
    }
}

#[test]
fn clean_workspace_has_no_findings() {
    check(
        &[(
            "crates/fl-model/src/lib.rs",
            "//! Not `std::fs`.\npub const TEXT: &str = \"todo!() std::net\";\n\
             #[cfg(test)]\nmod tests {\n    fn now() { std::time::Instant::now(); std::fs::read(\"x\"); }\n}\n",
        )],
        &[],
    );
}

#[test]
fn inner_layers_name_nothing_outside() {
    let source = "use std::{fs, collections::BTreeMap};\nuse std::time::{Instant, SystemTime};\n\
                  fn f(now: Instant) {\n    let _ = std::env::var(\"X\");\n    let _ = Instant::now();\n}\n";
    let place = |line: usize| format!("crates/fl-model/src/lib.rs:{line}");
    check(
        &[("crates/fl-model/src/lib.rs", source)],
        &[
            (&place(1), "must not name std::fs"),
            (&place(2), "SystemTime"),
            (&place(4), "std::env"),
            (&place(5), "Instant::now"),
        ],
    );
}

#[test]
fn test_modules_in_files_of_their_own_are_free() {
    check(
        &[
            (
                "crates/fl-model/src/lib.rs",
                "mod part;\n#[cfg(test)]\nmod samples;\n#[cfg(test)]\nmod tests;\n",
            ),
            (
                "crates/fl-model/src/samples.rs",
                "fn one() {\n    x.unwrap();\n}\n",
            ),
            ("crates/fl-model/src/part.rs", "#[cfg(test)]\nmod checks;\n"),
            ("crates/fl-model/src/tests.rs", "use std::fs;\n"),
            ("crates/fl-model/src/part/checks.rs", "use std::net;\n"),
        ],
        &[],
    );
}

#[test]
fn imports_follow_the_table() {
    let manifest = |name: &str, dependencies: &str| {
        format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n"
        )
    };
    let round = manifest(
        "fl-round",
        "fl-model = { path = \"../fl-model\" }\nfl-wire = { path = \"../fl-wire\" }",
    );
    let ledger = manifest("fl-ledger", "fl-wire = { path = \"../fl-wire\" }");
    let surprise = manifest("surprise", "");
    check(
        &[
            ("crates/fl-round/Cargo.toml", &round),
            ("crates/fl-round/src/lib.rs", ""),
            ("crates/fl-ledger/Cargo.toml", &ledger),
            ("crates/fl-ledger/src/lib.rs", ""),
            ("crates/surprise/Cargo.toml", &surprise),
            ("crates/surprise/src/lib.rs", ""),
        ],
        &[
            ("crates/fl-ledger/Cargo.toml:6", "must not import fl-wire"),
            ("crates/fl-round/Cargo.toml:7", "must not import fl-wire"),
            ("crates/surprise/Cargo.toml:1", "has no layer"),
        ],
    );
}

#[test]
fn panics_are_explained_outside_tests() {
    let source = "fn a(x: Option<u8>) {\n    x.unwrap();\n}\n\n\n\n\nfn b(x: Option<u8>) {\n    // Set above.\n    \
                  x.expect(\"set\");\n}\n#[cfg(test)]\nmod tests {\n\n\n\n\n    fn c() { x.unwrap(); }\n}\n";
    let place = "crates/fl-model/src/lib.rs:2";
    check(
        &[("crates/fl-model/src/lib.rs", source)],
        &[(place, "why this cannot fail")],
    );
}

#[test]
fn habits_hold_everywhere() {
    let long = "//\n".repeat(501);
    let left = "fn a() {\n    todo!()\n}\n#[ignore]\nfn b() {}\n";
    let machine = format!(
        "see {}me/anna/x\nand https://example.org{}me/anna\n",
        "/ho", "/ho"
    );
    check(
        &[
            ("crates/fl-wire/src/long.rs", &long),
            ("crates/fl-wire/src/proto/generated.rs", &long),
            ("crates/fl-wire/src/left.rs", left),
            ("docs/a.md", &machine),
            ("notes.txt", "of mine\n"),
        ],
        &[
            ("crates/fl-wire/src/left.rs:2", "todo! is left here"),
            ("crates/fl-wire/src/left.rs:4", "#[ignore is left here"),
            ("crates/fl-wire/src/long.rs:501", "501 lines"),
            ("docs/a.md:1", "exists on one machine only"),
            ("notes.txt:1", "top-level layout"),
        ],
    );
}
