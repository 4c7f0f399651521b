//! The span files of many processes as one file that Jaeger's upload page takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

/// Longest line that is read; a longer one is damaged [By].
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why files could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error("cannot read spans from {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Spans that cannot stand in JSON; does not occur with spans of ours.
    #[error("cannot write spans as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The merged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// One `{"resourceSpans": […]}` object.
    pub json: String,
    /// Distinct spans in it.
    pub spans: usize,
    /// Lines left out because a killed process had not finished them, or they are damaged.
    pub damaged_lines: usize,
}

/// Merges `spans.jsonl` files, in any order. Of several spans with one id (sent again after a restart) the one that
/// ends last is kept. A file that is missing is an error, an unfinished line is not.
pub fn merge_jsonl<P: AsRef<Path>>(paths: &[P]) -> Result<Merged, MergeError> {
    let mut merge = Merge::default();
    for path in paths {
        let path = path.as_ref();
        let failed = |source| MergeError::Read {
            path: path.to_owned(),
            source,
        };
        merge
            .read(BufReader::new(File::open(path).map_err(failed)?))
            .map_err(failed)?;
    }
    merge.finish()
}

/// The identity of a group: everything around its spans, as JSON.
type GroupKey = String;

#[derive(Default)]
struct Merge {
    groups: BTreeMap<GroupKey, ResourceSpans>,
    spans: BTreeMap<(Vec<u8>, Vec<u8>), (GroupKey, Span)>,
    damaged_lines: usize,
}

impl Merge {
    fn read(&mut self, mut lines: impl BufRead) -> std::io::Result<()> {
        loop {
            let mut line = Vec::new();
            let taken =
                std::io::Read::take(&mut lines, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if taken == 0 {
                return Ok(());
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<ExportTraceServiceRequest>(&line) {
                Ok(request) => request
                    .resource_spans
                    .into_iter()
                    .for_each(|group| self.add(group)),
                Err(_) => self.damaged_lines += 1,
            }
        }
    }

    fn add(&mut self, mut group: ResourceSpans) {
        for scope in std::mem::take(&mut group.scope_spans) {
            let mut around = group.clone();
            around.scope_spans.push(scope);
            let spans = std::mem::take(&mut around.scope_spans[0].spans);
            // Resources of ours always become JSON; one that does not would only share its group.
            let key = serde_json::to_string(&around).unwrap_or_default();
            for span in spans {
                let id = (span.trace_id.clone(), span.span_id.clone());
                let known = self.spans.get(&id);
                if known.is_none_or(|(_, known)| known.end_time_unix_nano < span.end_time_unix_nano)
                {
                    self.spans.insert(id, (key.clone(), span));
                }
            }
            self.groups.entry(key).or_insert(around);
        }
    }

    fn finish(mut self) -> Result<Merged, MergeError> {
        let spans = self.spans.len();
        for (key, span) in self.spans.into_values() {
            if let Some(group) = self.groups.get_mut(&key) {
                group.scope_spans[0].spans.push(span);
            }
        }
        let groups = self
            .groups
            .into_values()
            .filter(|group| !group.scope_spans[0].spans.is_empty());
        let json = serde_json::to_string(&ExportTraceServiceRequest {
            resource_spans: groups.collect(),
        })?;
        Ok(Merged {
            json,
            spans,
            damaged_lines: self.damaged_lines,
        })
    }
}
