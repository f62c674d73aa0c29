//! The gateway of the demo: a process of its own, so that it can be killed like one.

use crate::vault::ceremony::KeyBytes;
use crate::vault::{Actor, MasterKey, MasterKeySource, SoftVault, VendingKeyImport};
use anyhow::{Context, bail};
use jiff::Timestamp;
use protocol::sts::KeyType;
use simulator::identity::{KEY_REVISION, SUPPLY_GROUP};
use simulator::street::Street;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What energy costs in the demo: 30 cents a kilowatt-hour.
const MINOR_PER_KWH: &str = "30";
/// Simulated seconds between two scheduled reads of one meter.
const READ_INTERVAL_S: u32 = 1_800;
/// The published vending key of the test vectors, which the simulated meters are made with. Nothing of value is ever
/// protected by it.
const VENDING_KEY_HEX: &str = "abababababababab949494949494949401234567";

/// Where everything of a demo is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// Where API and page listen.
    pub listen: SocketAddr,
    /// The gateway's program.
    pub program: PathBuf,
}

impl Place {
    fn config(&self) -> PathBuf {
        self.data.join("gateway.toml")
    }

    /// The gateway's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data.join("gateway.log")
    }

    /// The first administrator token, once the gateway has made it.
    ///
    /// # Errors
    /// It is not there.
    pub fn admin_token(&self) -> anyhow::Result<String> {
        let path = self.data.join("admin.token");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Writes configuration, channel secret and keys. `origin` is the street's time now.
    ///
    /// # Errors
    /// The directory cannot be written, or holds another gateway's data.
    pub fn prepare(&self, street: &Street, channel_secret: &str, origin: Timestamp) -> anyhow::Result<()> {
        fs::create_dir_all(&self.data).with_context(|| format!("{}", self.data.display()))?;
        if self.data.join("store.db").exists() {
            bail!("{} holds a gateway's data already: give --data a new directory", self.data.display());
        }
        let config = self.config();
        fs::write(&config, self.text(street, origin)).with_context(|| format!("{}", config.display()))?;
        self.fill_vault(channel_secret)
    }

    fn fill_vault(&self, channel_secret: &str) -> anyhow::Result<()> {
        let master = MasterKey::load(&MasterKeySource::File(self.data.join("master.key")))?;
        let vault = SoftVault::open_file(&self.data.join("vault.sealed"), &master)?;
        let import = VendingKeyImport {
            sgc: SUPPLY_GROUP,
            krn: KEY_REVISION,
            key_type: KeyType::Dutk,
            ken: 255,
            expires_at: None,
            utc_offset_minutes: None,
            key: KeyBytes::from_hex(VENDING_KEY_HEX)?,
        };
        let actor = Actor { name: "demo".into(), at: Timestamp::now() };
        vault.import_vending_key(&import, &actor)?;
        vault.import_secret(super::client::CHANNEL, channel_secret, false, &actor)?;
        Ok(())
    }

    fn text(&self, street: &Street, origin: Timestamp) -> String {
        let speed = street.config().clock.speed();
        let clock = match speed {
            1 => String::new(),
            _ => format!(
                "[clock]\nspeed = {speed}\norigin = \"{origin}\"\nstarted = \"{}\"\n\n",
                Timestamp::now()
            ),
        };
        let mut text = format!(
            "[api]\nlisten = \"{}\"\n\n[store]\npath = \"store.db\"\n\n[vault]\nmaster_key_file = \"master.key\"\n\n\
             {clock}[price]\ncurrency = \"EUR\"\nminor_per_kwh = \"{MINOR_PER_KWH}\"\n\n\
             [schedule]\nread_interval_s = {READ_INTERVAL_S}\n\n\
             [[channel]]\nid = \"{}\"\nsecret = \"{}\"\n\n\
             [[line]]\nname = \"street\"\nkind = \"tcp\"\narea = \"{AREA}\"\n",
            self.listen,
            super::client::CHANNEL,
            super::client::CHANNEL
        );
        for (name, port, protocol) in
            [("bus", street.line_path(), "dlms-hdlc"), ("modbus", street.modbus_line_path(), "modbus-rtu")]
        {
            if let Some(port) = port {
                text += &format!(
                    "\n[[line]]\nname = \"{name}\"\nkind = \"serial\"\nport = \"{port}\"\nbaud = {}\n\
                     protocol = \"{protocol}\"\narea = \"{AREA}\"\n",
                    street.config().baud
                );
            }
        }
        if let Some(feeder) = street.modbus_tcp() {
            text += &format!(
                "\n[[line]]\nname = \"feeder\"\nkind = \"modbus-tcp\"\naddress = \"{feeder}\"\narea = \"{AREA}\"\n"
            );
        }
        text
    }

    /// Starts the gateway.
    ///
    /// # Errors
    /// Its address is taken, or the program cannot be started.
    pub fn start(&self) -> anyhow::Result<Gateway> {
        // Asked here, because the child's own complaint would be in its log only.
        TcpListener::bind(self.listen).with_context(|| {
            format!("cannot listen on {}: choose another address with --listen", self.listen)
        })?;
        let log = OpenOptions::new().create(true).append(true).open(self.log()).context("gateway.log")?;
        let child = Command::new(&self.program)
            .args(["run", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("gateway.log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        Ok(Gateway(child))
    }
}

/// The transformer area of the demo.
pub const AREA: &str = "T1";

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway(Child);

impl Gateway {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.0.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(|_| ())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last lines of a log, to say why a gateway did not come up.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
