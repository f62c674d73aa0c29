//! A gateway as a substation runs it: `meter-gateway run` with a configuration, and its command line beside it.

use crate::folder::Folder;
use crate::process::{Process, START_TIMEOUT, program};
use crate::street::VENDING_KEY;
use gateway::vault::ceremony::KeyBytes;
use gateway::vault::{Actor, MasterKey, MasterKeySource, SoftVault, VendingKeyImport};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a subcommand may take, following its command to the end.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// Keys of the simulated meters: the Green Book's examples.
const METER_KEYS: [(&str, &str); 2] =
    [("METER_EK", "000102030405060708090A0B0C0D0E0F"), ("METER_AK", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")];
const CHANNEL_SECRET: &str = "the till's secret of the tests";

/// A running gateway with one `tcp` line named `street` and a payment channel named `till`.
#[derive(Debug)]
pub struct GatewayProcess {
    /// The process; its log is what it says.
    pub process: Process,
    url: String,
    token: String,
    /// What its processes are started with besides our own environment.
    environment: Vec<(&'static str, PathBuf)>,
    folder: Folder,
}

impl GatewayProcess {
    /// Starts one with an empty store; energy costs 30 cents a kWh.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// The same, with more configuration; what it names is written into the folder given.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_with(more: impl FnOnce(&Folder) -> String) -> Self {
        Self::start_in(Folder::new("gateway"), Vec::new(), more)
    }

    /// The same with nothing more, and its store there: the lines of `[store]`.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_on(store: &str) -> Self {
        Self::start_whole(Folder::new("gateway"), Vec::new(), "", store, "")
    }

    /// The same in a directory that the caller made, with more in the environment.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_in(
        folder: Folder,
        environment: Vec<(&'static str, PathBuf)>,
        more: impl FnOnce(&Folder) -> String,
    ) -> Self {
        let more = more(&folder);
        Self::start_whole(folder, environment, "", "path = \"store.db\"", &more)
    }

    /// The same in a directory that the caller made, with these settings before all tables and more after the line `street`, to
    /// which the first of them belong.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_with_settings(folder: Folder, first: &str, more: &str) -> Self {
        Self::start_whole(folder, Vec::new(), first, "path = \"store.db\"", more)
    }

    fn start_whole(
        folder: Folder,
        environment: Vec<(&'static str, PathBuf)>,
        first: &str,
        store: &str,
        more: &str,
    ) -> Self {
        let port = crate::free_port();
        folder.file("channel.secret", CHANNEL_SECRET);
        let config = folder.file(
            "gateway.toml",
            &format!(
                "{first}[api]\nlisten = \"127.0.0.1:{port}\"\n[store]\n{store}\n\
                 [vault]\nmaster_key_file = \"master.key\"\n\
                 [price]\ncurrency = \"EUR\"\nminor_per_kwh = \"30\"\n\
                 [[channel]]\nid = \"till\"\nsecret_file = \"channel.secret\"\n\
                 [[line]]\nname = \"street\"\nkind = \"tcp\"\narea = \"T1\"\n{more}"
            ),
        );
        import_vending_key(&folder);
        let url = format!("http://127.0.0.1:{port}");
        let mut process = launched(&config, &environment);
        until_ready(&mut process, &url);
        let token =
            std::fs::read_to_string(folder.path().join("admin.token")).expect("the first token is written");
        Self { process, url, token: token.trim().to_owned(), environment, folder }
    }

    /// Kills it without a chance to tidy up (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on what it left behind.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_again(&mut self) {
        self.launch_again();
        until_ready(&mut self.process, &self.url);
    }

    /// Changes its configuration, for the next start.
    ///
    /// # Panics
    /// When the file cannot be read or written.
    pub fn configure(&self, change: impl FnOnce(&str) -> String) {
        let path = self.folder.path().join("gateway.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration is there");
        std::fs::write(&path, change(&text)).expect("the configuration can be written");
    }

    /// Starts it again and does not wait for it.
    pub fn launch_again(&mut self) {
        self.process = launched(&self.folder.path().join("gateway.toml"), &self.environment);
    }

    /// The secret that the till signs its payments with.
    #[must_use]
    pub const fn channel_secret() -> &'static str {
        CHANNEL_SECRET
    }

    /// A bearer token of the administrator.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where its API listens, as host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Its data directory.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// One of its subcommands, ready to be run against it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("meter-gateway");
        command.args(arguments).envs(METER_KEYS);
        command.env("METER_GATEWAY_URL", &self.url).env("METER_GATEWAY_TOKEN", &self.token);
        command
    }

    /// Runs a subcommand: its exit code and what it said.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Process::start(&mut self.command(arguments)).finish(COMMAND_TIMEOUT)
    }

    /// Runs a subcommand that has to succeed: what it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn must(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?} said:\n{said}\nand the gateway:\n{}", self.process.said());
        said
    }

    /// A signed top-up of the till.
    #[must_use]
    pub fn top_up(&self, serial: &str, amount_minor: &str) -> (Option<i32>, String) {
        let secret = self.folder.path().join("channel.secret");
        let secret = secret.to_str().expect("a path of ours is text");
        self.run(&["top-up", serial, amount_minor, "--channel", "till", "--secret-file", secret])
    }

    /// Adds a reference meter on the street's line, without waiting for anything.
    ///
    /// # Panics
    /// When it is refused.
    pub fn add_meter(&self, serial: &str, address: &str, framing: &str) {
        let place = ["--line", "street", "--address", address, "--framing", framing];
        let mut arguments =
            vec!["meter", "add", "--serial", serial, "--model", "reference-dlms", "--sgc", "123457"];
        arguments.extend(place);
        self.must(&arguments);
    }

    /// What the API shows of a path below `/api/v1`.
    ///
    /// # Panics
    /// When it refuses.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        let request = ureq::get(format!("{}/api/v1{path}", self.url));
        let mut answer = request
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .expect("the API answers");
        answer.body_mut().read_json().expect("the API answers in JSON")
    }

    /// The text that a path outside of `/api/v1` shows.
    ///
    /// # Panics
    /// When it refuses.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        let request = ureq::get(format!("{}{path}", self.url));
        let mut answer = request
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .expect("the gateway answers");
        answer.body_mut().read_to_string().expect("the answer is text")
    }

    /// Posts to a path below `/api/v1`, as the administrator.
    ///
    /// # Panics
    /// When it is refused.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let request = ureq::post(format!("{}/api/v1{path}", self.url));
        let mut answer = request
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(body)
            .expect("the API takes it");
        answer.body_mut().read_json().expect("the API answers in JSON")
    }

    /// Posts this text with these headers besides.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let mut request = ureq::post(format!("{}/api/v1{path}", self.url)).content_type("application/json");
        request = request.header("Authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).expect("the API takes it").body_mut().read_json().expect("the API answers in JSON")
    }

    /// Waits until a meter is commissioned.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn until_commissioned(&self, serial: &str) {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        loop {
            let meter = self.get(&format!("/meters/{serial}"));
            if meter["commissioned_at"].is_string() {
                return;
            }
            assert!(Instant::now() < deadline, "{meter:#}\n{}", self.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a command is finished, however it ended.
    ///
    /// # Panics
    /// When it is not in time.
    #[must_use]
    pub fn until_finished(&self, command: i64) -> Value {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        loop {
            let shown = self.get(&format!("/commands/{command}"));
            if shown["finished"] == true {
                return shown;
            }
            assert!(Instant::now() < deadline, "{shown:#}\n{}", self.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// `run`, just started.
fn launched(config: &Path, environment: &[(&'static str, PathBuf)]) -> Process {
    let mut command = program("meter-gateway");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start(command.args(["run", "--config"]).arg(config))
}

/// Waits until it says that it is ready.
fn until_ready(process: &mut Process, url: &str) {
    let ready = format!("{url}/api/v1/ready");
    let deadline = Instant::now() + START_TIMEOUT;
    while ureq::get(&ready).call().is_err() {
        assert!(Instant::now() < deadline, "the gateway is not ready; it said:\n{}", process.said());
        assert!(process.is_running(), "the gateway ended; it said:\n{}", process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The published vending key of the test vectors, as a key ceremony would have put it into the vault.
fn import_vending_key(folder: &Folder) {
    let at = jiff::Timestamp::now();
    let import = VendingKeyImport {
        sgc: 123_457,
        krn: 1,
        key_type: protocol::sts::KeyType::Dutk,
        ken: 255,
        expires_at: None,
        utc_offset_minutes: None,
        key: KeyBytes::from_hex(VENDING_KEY).expect("20 bytes in hexadecimal"),
    };
    let source = MasterKeySource::File(folder.path().join("master.key"));
    let master = MasterKey::load(&source).expect("a master key is made");
    let vault =
        SoftVault::open_file(&folder.path().join("vault.sealed"), &master).expect("a new vault opens");
    vault.import_vending_key(&import, &Actor { name: "tests".into(), at }).expect("the vault takes the key");
}
