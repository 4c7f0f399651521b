//! Our programs, run by exactly the command lines that a user gives.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::fetch::Tools;
use crate::processes::{Spec, run_to_end};

/// The built programs, the servers and libraries they need, and a record of the commands given.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
    tools: Tools,
    record: File,
}

impl Programs {
    /// The programs in `folder`; every command is also written to the file `record`.
    pub fn new(folder: &Path, tools: &Tools, record: &Path) -> Result<Self> {
        let unwritable = || format!("cannot write {}", record.display());
        Ok(Self {
            folder: folder.to_path_buf(),
            tools: tools.clone(),
            record: File::create(record).with_context(unwritable)?,
        })
    }

    /// Where the program called `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The nats-server.
    pub fn nats_server(&self) -> &Path {
        &self.tools.nats_server
    }

    /// The ONNX Runtime library, where it is more than a name that the system's loader looks for.
    pub fn onnxruntime(&self) -> Option<&Path> {
        let library = self.tools.onnxruntime.as_path();
        library.is_absolute().then_some(library)
    }

    /// What to hand on as `ORT_DYLIB_PATH`.
    pub fn onnxruntime_value(&self) -> OsString {
        self.tools.onnxruntime.clone().into()
    }

    /// Runs a short command to its end and gives what it printed.
    pub fn run(&self, program: &str, arguments: &[&OsStr]) -> Result<String> {
        let path = self.path(program);
        self.note(&command_line(&path, arguments));
        let mut command = Command::new(path);
        self.tools.set_on(&mut command);
        run_to_end(command.args(arguments))
    }

    /// A child called `name` that runs one of our programs.
    pub fn spec(&self, name: &str, program: &str, arguments: &[&OsStr]) -> Spec {
        let path = self.path(program);
        self.note(&command_line(&path, arguments));
        Spec::new(name, path)
            .arguments(arguments)
            .variable(crate::fetch::ORT_VARIABLE, &self.tools.onnxruntime)
    }

    /// Adds a line to the record.
    pub fn note(&self, line: &str) {
        // The record is for readers: the demo does not fail over it.
        let _ = writeln!(&self.record, "{line}");
    }
}

/// A command as it can be pasted into a shell.
pub fn command_line(program: &Path, arguments: &[impl AsRef<OsStr>]) -> String {
    let mut line = quoted(program.as_os_str());
    for argument in arguments {
        line.push(' ');
        line.push_str(&quoted(argument.as_ref()));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    fl_model::shell_word(&word.to_string_lossy())
}

/// Sets keys in a settings file and keeps its comments. A key is `section.key`, or deeper.
pub fn set_in_file(
    path: &Path,
    changes: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut document: DocumentMut = text
        .parse()
        .with_context(|| format!("{} is not valid TOML", path.display()))?;
    for (key, value) in changes {
        let mut table: &mut Table = document.as_table_mut();
        let (sections, key) = key.rsplit_once('.').unwrap_or(("", key));
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            table = table
                .entry(section)
                .or_insert_with(|| Item::Table(Table::new()))
                .as_table_mut()
                .with_context(|| format!("{}: {section} is no section", path.display()))?;
        }
        put(table, key, value);
    }
    fs::write(path, document.to_string())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Sets a key and keeps the comment behind it.
pub(super) fn put(table: &mut Table, key: &str, value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        _ => table[key] = Item::Value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let check = |word: &str, expected: &str| assert_eq!(quoted(OsStr::new(word)), expected);
        check("--home", "--home");
        check("/a b/c", "'/a b/c'");
        check("it's", r"'it'\''s'");
        check("", "''");
        let line = command_line(Path::new("/bin/echo"), &["a", "b c"]);
        assert_eq!(line, "/bin/echo a 'b c'");
    }

    #[test]
    fn settings_are_set_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(
            &path,
            "# mine\nname = \"x\"\n\n[runtime]\n# old\nlib = \"a\"\n",
        )
        .unwrap();
        let changes = [
            ("runtime.lib", Value::from("/b c")),
            ("telemetry.file", Value::from(true)),
            ("telemetry.otlp.endpoint", Value::from("http://c")),
        ];
        set_in_file(&path, changes).unwrap();
        let written: DocumentMut = fs::read_to_string(&path).unwrap().parse().unwrap();
        assert_eq!(written["name"].as_str(), Some("x"));
        assert_eq!(written["runtime"]["lib"].as_str(), Some("/b c"));
        assert_eq!(written["telemetry"]["file"].as_bool(), Some(true));
        assert_eq!(
            written["telemetry"]["otlp"]["endpoint"].as_str(),
            Some("http://c")
        );
        assert!(written.to_string().contains("# mine") && written.to_string().contains("# old"));
        assert!(set_in_file(&path, [("name.x", Value::from(1))]).is_err());
    }
}
