//! A PostgreSQL server of a test's own: a fresh cluster in a temporary directory, reached by a socket in it and by nothing else, or
//! where a test asks for it over TLS too.
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
    /// Where it listens for TLS; part of the socket's name too.
    port: Option<u16>,
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
        let mut cluster = Self { directory, programs: programs(), server: None, port: None };
        let mut init = unprivileged(&cluster.programs.join("initdb"));
        init.args(["--auth=trust", "--encoding=UTF8", "--no-sync", "--username", USER, "--pgdata"]);
        must(init.arg(cluster.data()).current_dir("/"));
        cluster.start_again();
        cluster
    }

    /// Has it listen on the loopback address too, where it speaks TLS with a certificate for `localhost`.
    ///
    /// # Panics
    /// When there is no `openssl`, or the server does not come up again.
    pub fn listen_for_tls(&mut self) {
        self.kill();
        let at = |name: &str| self.data().join(name).to_str().expect("text").to_owned();
        let (authority, authority_key) = (at("authority.crt"), at("authority.key"));
        let (certificate, key, request) = (at("server.crt"), at("server.key"), at("server.csr"));
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let openssl =
            |arguments: &[&str]| must(unprivileged(Path::new("openssl")).args(arguments).current_dir("/"));
        openssl(
            &[
                &["req", "-x509"][..],
                &new,
                &["-keyout", &authority_key, "-out", &authority, "-subj", "/CN=authority"],
            ]
            .concat(),
        );
        let name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
        openssl(&[&["req"][..], &new, &["-keyout", &key, "-out", &request], &name].concat());
        let signed = ["x509", "-req", "-in", &request, "-CA", &authority, "-CAkey", &authority_key];
        openssl(
            &[&signed[..], &["-copy_extensions", "copy", "-set_serial", "1", "-out", &certificate]].concat(),
        );
        // Readable by whoever runs the tests: only the keys are secret.
        must(unprivileged(Path::new("cp")).args([&authority, self.authority().to_str().expect("text")]));
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        self.port = Some(free.expect("a free port").port());
        self.start_again();
    }

    /// The certificate of the authority that signed the server's.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.crt")
    }

    /// The URL of a database over TLS, by this name of the server.
    #[must_use]
    pub fn tls_url(&self, host: &str, database: &str) -> String {
        format!("postgres://{USER}@{host}:{}/{database}?sslmode=verify-full", self.port.unwrap_or_default())
    }

    fn socket_port(&self) -> String {
        self.port.unwrap_or(5432).to_string()
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
        server.args(["-c", "fsync=off", "-k"]).arg(&self.directory);
        match self.port {
            None => server.args(["-c", "listen_addresses="]),
            Some(port) => {
                server.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on", "-p", &port.to_string()])
            }
        };
        server.arg("-D").arg(self.data()).current_dir("/");
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(server.spawn().expect("the server starts"));
        let deadline = Instant::now() + START_TIMEOUT;
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-q", "-p", &self.socket_port(), "-h"]).arg(&self.directory);
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
        let (port, directory) = (self.socket_port(), self.directory.display());
        format!("postgres://{USER}@localhost:{port}/{database}?host={directory}")
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
        let done =
            psql.args(["-p", &self.socket_port(), "-h"]).arg(&self.directory).output().expect("psql runs");
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
