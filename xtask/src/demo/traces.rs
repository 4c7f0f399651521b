//! `traces.json`: every process's spans in one file that Jaeger's upload page accepts.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use serde_json::value::RawValue;

/// The file that every exporting process keeps in its home: an OTLP JSON export per line.
const SPANS_FILE: &str = "spans.jsonl";

/// What went into the merged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Files that were read.
    pub files: usize,
    /// Spans that were written.
    pub spans: usize,
    /// Lines that a killed process left unfinished.
    pub broken_lines: usize,
}

/// An export request, its parts kept as they are.
#[derive(serde::Deserialize)]
struct Export {
    #[serde(rename = "resourceSpans")]
    resource_spans: Vec<Box<RawValue>>,
}

/// Writes the spans of every home folder below `homes` to `out` as one OTLP JSON object.
pub fn merge_traces(homes: &Path, out: &Path) -> Result<Merged> {
    let unwritable = || format!("cannot write {}", out.display());
    let mut merged = Merged {
        files: 0,
        spans: 0,
        broken_lines: 0,
    };
    let mut writer = BufWriter::new(File::create(out).with_context(unwritable)?);
    writer
        .write_all(b"{\"resourceSpans\":[")
        .with_context(unwritable)?;
    let mut separator = "";
    for path in span_files(homes)? {
        merged.files += 1;
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            if line.is_empty() {
                continue;
            }
            let Ok(export) = serde_json::from_slice::<Export>(&line) else {
                merged.broken_lines += 1;
                continue;
            };
            for part in export.resource_spans {
                merged.spans += count_spans(part.get());
                write!(writer, "{separator}\n{part}").with_context(unwritable)?;
                separator = ",";
            }
        }
    }
    writer.write_all(b"\n]}\n").with_context(unwritable)?;
    writer.flush().with_context(unwritable)?;
    Ok(merged)
}

fn span_files(homes: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot list the folder {}", homes.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(homes).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path().join(SPANS_FILE);
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn count_spans(resource_spans: &str) -> usize {
    let parsed: Value = serde_json::from_str(resource_spans).unwrap_or_default();
    let scopes = parsed["scopeSpans"].as_array().into_iter().flatten();
    scopes
        .filter_map(|scope| scope["spans"].as_array())
        .map(Vec::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_and_counts_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let homes = folder.path().join("homes");
        let export = |names: &[&str]| {
            let spans: Vec<Value> = names
                .iter()
                .map(|name| serde_json::json!({"name": name}))
                .collect();
            serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
        };
        for (home, text) in [
            (
                "root",
                format!("{}\n{}\n", export(&["a", "b"]), export(&["c"])),
            ),
            ("fog", format!("{}\n{{\"resourceSp", export(&["d"]))),
        ] {
            fs::create_dir_all(homes.join(home)).unwrap();
            fs::write(homes.join(home).join(SPANS_FILE), text).unwrap();
        }
        fs::create_dir_all(homes.join("agent without spans")).unwrap();
        let out = folder.path().join("traces.json");
        let merged = merge_traces(&homes, &out).unwrap();
        assert_eq!(
            merged,
            Merged {
                files: 2,
                spans: 4,
                broken_lines: 1
            }
        );
        let written: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(written["resourceSpans"].as_array().unwrap().len(), 3);
    }
}
