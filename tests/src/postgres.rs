//! A PostgreSQL server of a test's own: a fresh cluster in a temporary directory, reached by a socket in it and by nothing else.
//!
//! The gateway's unit tests use this file too, so it stands on the standard library alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to come up on a machine that is busy.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Whoever runs the tests: the name of the cluster's superuser.
const USER: &str = "meters";

/// A cluster and its server; both gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    programs: PathBuf,
    server: Option<Child>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The newest of Debian's versions, or whatever is on the path.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|bin| bin.join("initdb").exists());
    found.sort();
    found.pop().unwrap_or_default()
}

/// Runs it as user `postgres` where we are root: the server refuses root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn must(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

impl Cluster {
    /// Makes one and starts its server.
    ///
    /// # Panics
    /// When there is no PostgreSQL (Debian's `postgresql`), or it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mg-pg-{}-{count}", std::process::id()));
        std::fs::create_dir(&directory).expect("a temporary directory can be made");
        if is_root() {
            must(Command::new("chown").arg("postgres:").arg(&directory));
        }
        let mut cluster = Self { directory, programs: programs(), server: None };
        let mut init = unprivileged(&cluster.programs.join("initdb"));
        init.args(["--auth=trust", "--encoding=UTF8", "--no-sync", "--username", USER, "--pgdata"]);
        must(init.arg(cluster.data()).current_dir("/"));
        cluster.start_again();
        cluster
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts the server on what the last one left behind.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        let mut server = unprivileged(&self.programs.join("postgres"));
        // A test cuts no machine's power: what a killed server has written, the next one finds.
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(&self.directory);
        server.arg("-D").arg(self.data()).current_dir("/");
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(server.spawn().expect("the server starts"));
        let deadline = Instant::now() + START_TIMEOUT;
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-q", "-h"]).arg(&self.directory);
        while !ready.status().is_ok_and(|status| status.success()) {
            assert!(Instant::now() < deadline, "PostgreSQL does not come up in {}", self.directory.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server at once: every session is cut, nothing is tidied up.
    ///
    /// # Panics
    /// When it was not running.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("a running server");
        // The immediate shutdown; SIGKILL would leave the server's own children behind.
        must(Command::new("kill").args(["-QUIT", &server.id().to_string()]));
        let _ = server.wait();
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Panics
    /// When there is one of this name.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost/{database}?host={}", self.directory.display())
    }

    /// Does something in a database as a person would, and gives what it answers: one line a row.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            USER,
            "-d",
            database,
            "-c",
            statement,
        ]);
        let done = psql.arg("-h").arg(&self.directory).output().expect("psql runs");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
