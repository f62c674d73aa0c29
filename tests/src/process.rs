//! Our programs and other people's as processes.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How long a program may take to come up on a machine that is busy compiling.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The directory of the workspace.
#[must_use]
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace").to_owned()
}

/// The directory that holds our programs: this test program is in `deps` below it.
fn program_directory() -> PathBuf {
    let me = std::env::current_exe().expect("a running program has a path");
    me.parent().and_then(Path::parent).expect("a test program is in target/PROFILE/deps").to_owned()
}

/// The build directory (`target`).
#[must_use]
pub fn target_directory() -> PathBuf {
    program_directory().parent().expect("a profile's directory is in the target directory").to_owned()
}

/// One of our programs, by name: built beside this test, or those in the directory that `METER_PROGRAMS` names.
///
/// # Panics
/// When it has not been built: `tests/run` builds it, `cargo build --workspace` does too.
#[must_use]
pub fn program(name: &str) -> Command {
    let directory = std::env::var_os("METER_PROGRAMS").map_or_else(program_directory, PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --all-targets", path.display());
    Command::new(path)
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// One waits for lines at a time; everybody may look at the rest.
    lines: Mutex<mpsc::Receiver<String>>,
    /// Everything it said on both outputs so far.
    said: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it, listening to both its outputs.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        listen(child.stdout.take().expect("piped"), Arc::clone(&said), sender.clone());
        listen(child.stderr.take().expect("piped"), Arc::clone(&said), sender);
        Self { child, lines: Mutex::new(lines), said }
    }

    /// Waits for the next line that `wanted` takes something from.
    ///
    /// # Panics
    /// When no such line comes in time or the program ends; with everything it said.
    pub fn expect<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let lines = self.lines.get_mut().expect("nobody panics with it");
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(why) => panic!("waiting for {what}: {why:?}; the program said:\n{}", self.said()),
            }
        }
    }

    /// Everything it said so far.
    ///
    /// # Panics
    /// Never: the listening threads do not panic.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("listeners do not panic").clone()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself: its exit code and everything it said.
    ///
    /// # Panics
    /// When it is still running after `timeout`.
    pub fn finish(mut self, timeout: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                // The outputs are closed now; the listeners end as soon as they have read the rest.
                let lines = self.lines.get_mut().expect("nobody panics with it");
                while lines.recv_timeout(Duration::from_secs(5)).is_ok() {}
                return (status.code(), self.said());
            }
            assert!(Instant::now() < deadline, "still running after {timeout:?}; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once, without a chance to tidy up (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Resident memory of a process, in kilobytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident_kb(id: u32) -> u64 {
    status_kb(id, "VmRSS:")
}

/// The most resident memory that a process ever had, in kilobytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn peak_resident_kb(id: u32) -> u64 {
    status_kb(id, "VmHWM:")
}

/// Processor time that a process has used, in milliseconds.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_ms(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a running process has a status");
    // After the name, which may contain anything: state, and from the 12th field on user and system time in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    ticks.sum::<u64>() * 10
}

fn status_kb(id: u32, field: &str) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{id}/status")).expect("a running process has a status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("Linux says the size");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes")
}

fn listen(pipe: impl Read + Send + 'static, said: Arc<Mutex<String>>, sender: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if let Ok(mut all) = said.lock() {
                all.push_str(&line);
                all.push('\n');
            }
            // Nobody may be waiting for lines any more; the text is kept all the same.
            let _ = sender.send(line);
        }
    });
}
