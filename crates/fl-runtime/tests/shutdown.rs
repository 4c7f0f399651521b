//! How a real process is asked to end. Started with [`CHILD`] this program is that process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fl_runtime::shutdown::{EXIT_WITH_STDIN, Shutdown};

/// The argument of the child's side.
const CHILD: &str = "--be-the-child";

/// What the child says when it listens, and when it has ended in order.
const READY: &str = "ready";
const ENDED: &str = "ended";

/// How long a child may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED_TWICE: i32 = 130;

fn main() {
    if std::env::args().any(|argument| argument == CHILD) {
        return child();
    }
    ends_in_order_when("its input closes", true, |child| {
        drop(child.process.stdin.take())
    });
    ends_in_order_when("it is terminated", false, |child| child.signal("-TERM"));
    ends_in_order_when("it is interrupted", false, |child| child.signal("-INT"));
    ends_at_the_second_signal();
    an_open_input_keeps_it_going();
    println!("test result: ok. 5 passed");
}

/// Ends in order when asked, unless it is told to hang on.
fn child() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let shutdown = Shutdown::listen().expect("signals");
        say(READY);
        shutdown.requested().await;
        say(ENDED);
        if std::env::args().any(|argument| argument == "hang") {
            std::future::pending::<()>().await;
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("a parent that reads");
}

struct Running {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Running {
    fn start(exit_with_stdin: bool, arguments: &[&str]) -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut process = Command::new(own)
            .arg(CHILD)
            .args(arguments)
            .env(EXIT_WITH_STDIN, if exit_with_stdin { "1" } else { "0" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let says = BufReader::new(process.stdout.take().expect("its output"));
        let mut child = Self { process, says };
        assert_eq!(child.line(), READY);
        child
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn signal(&mut self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("the program kill").success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child to wait for") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the child does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ends_in_order_when(what: &str, exit_with_stdin: bool, ask: fn(&mut Running)) {
    let mut child = Running::start(exit_with_stdin, &[]);
    ask(&mut child);
    assert_eq!(child.line(), ENDED, "when {what}");
    assert_eq!(child.exit_code(), Some(0), "when {what}");
}

fn ends_at_the_second_signal() {
    let mut child = Running::start(false, &["hang"]);
    child.signal("-INT");
    assert_eq!(child.line(), ENDED);
    assert!(
        child.process.try_wait().expect("a child").is_none(),
        "it hangs on"
    );
    child.signal("-INT");
    assert_eq!(child.exit_code(), Some(INTERRUPTED_TWICE));
}

fn an_open_input_keeps_it_going() {
    let mut child = Running::start(false, &[]);
    drop(child.process.stdin.take());
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        child.process.try_wait().expect("a child").is_none(),
        "not asked, it goes on"
    );
    child.signal("-TERM");
    assert_eq!(child.line(), ENDED);
}
