//! `traces.json`: every process's spans in one file that Jaeger's upload page accepts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// The file that every exporting process keeps in its home: an OTLP JSON export per line.
const SPANS_FILE: &str = "spans.jsonl";

/// What went into the merged file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files that were read.
    pub files: usize,
    /// Spans that were written.
    pub spans: usize,
    /// Lines that a killed process left unfinished.
    pub broken_lines: usize,
}

/// An export request, its resources kept as they are.
#[derive(Deserialize)]
struct Export {
    #[serde(rename = "resourceSpans")]
    resource_spans: Vec<Value>,
}

/// Writes the spans of every home folder below `homes` to `out` as one OTLP JSON object.
///
/// A process that was killed and started again may tell a span twice, under the same ids: the first
/// telling stays, or Jaeger would show two.
pub fn merge_traces(homes: &Path, out: &Path) -> Result<Merged> {
    let unwritable = || format!("cannot write {}", out.display());
    let mut merged = Merged::default();
    let mut seen = BTreeSet::new();
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
            for mut group in export.resource_spans {
                let kept = keep_new(&mut group, &mut seen);
                if kept > 0 {
                    merged.spans += kept;
                    write!(writer, "{separator}\n{group}").with_context(unwritable)?;
                    separator = ",";
                }
            }
        }
    }
    writer.write_all(b"\n]}\n").with_context(unwritable)?;
    writer.flush().with_context(unwritable)?;
    Ok(merged)
}

/// Takes the spans out of a group that were seen before, and gives the number of those left.
fn keep_new(group: &mut Value, seen: &mut BTreeSet<(String, String)>) -> usize {
    let id = |span: &Value, key: &str| span[key].as_str().unwrap_or_default().to_owned();
    let mut kept = 0;
    let scopes = group["scopeSpans"].as_array_mut().into_iter().flatten();
    for spans in scopes.filter_map(|scope| scope["spans"].as_array_mut()) {
        spans.retain(|span| seen.insert((id(span, "traceId"), id(span, "spanId"))));
        kept += spans.len();
    }
    kept
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
                .map(|name| serde_json::json!({"traceId": "t", "spanId": name}))
                .collect();
            serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
        };
        for (home, text) in [
            (
                "root",
                format!("{}\n{}\n", export(&["a", "b"]), export(&["b", "c"])),
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
