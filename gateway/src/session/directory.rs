//! Where each meter is: what a line needs to know to reach it. Shared by the store (which fills it) and the lines (which look).

use super::work::Serial;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One meter's place and manner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its serial number.
    pub serial: Serial,
    /// The name of its line in the configuration.
    pub line: String,
    /// `host:port` on a tcp line; HDLC physical address or Modbus unit id elsewhere, as a decimal number.
    pub address: String,
    /// Framing on a tcp line. Serial DLMS lines are HDLC always.
    pub framing: Framing,
    /// Model name: which model file says how to speak to it.
    pub model: String,
}

/// How DLMS is framed on TCP.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// IEC 62056-47 wrapper.
    #[default]
    Wrapper,
    /// HDLC inside TCP.
    Hdlc,
}

/// All endpoints, and the system titles that meters gave when they were talked to. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    meters: HashMap<Serial, Endpoint>,
    titles: HashMap<[u8; 8], Serial>,
}

impl Directory {
    /// The endpoint of a meter.
    #[must_use]
    pub fn find(&self, serial: &Serial) -> Option<Endpoint> {
        self.read().meters.get(serial).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The only meter that is reached at this IP address; none where there are several or none.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<Endpoint> {
        let entries = self.read();
        let here = |endpoint: &&Endpoint| {
            endpoint.address.parse::<SocketAddr>().is_ok_and(|place| place.ip() == address)
        };
        let mut found = entries.meters.values().filter(here);
        found.next().filter(|_| found.next().is_none()).cloned()
    }

    /// The meter with this system title, if it was talked to since the start.
    #[must_use]
    pub fn of_title(&self, title: [u8; 8]) -> Option<Endpoint> {
        let entries = self.read();
        entries.meters.get(entries.titles.get(&title)?).cloned()
    }

    /// The system title of a meter that was talked to since the start.
    #[must_use]
    pub fn title_of(&self, serial: &Serial) -> Option<[u8; 8]> {
        self.read().titles.iter().find(|(_, meter)| *meter == serial).map(|(title, _)| *title)
    }

    /// A meter that has proved who it is gave this system title.
    pub fn learn_title(&self, serial: &Serial, title: [u8; 8]) {
        if self.read().titles.get(&title) == Some(serial) {
            return;
        }
        let mut entries = self.write();
        entries.titles.retain(|_, meter| meter != serial);
        entries.titles.insert(title, serial.clone());
    }

    /// The meter at this address of this line.
    #[must_use]
    pub fn on_line(&self, line: &str, address: &str) -> Option<Serial> {
        let entries = self.read();
        let here = |endpoint: &&Endpoint| endpoint.line == line && endpoint.address == address;
        entries.meters.values().find(here).map(|endpoint| endpoint.serial.clone())
    }

    /// Forgets one.
    pub fn remove(&self, serial: &Serial) {
        self.write().meters.remove(serial);
    }

    /// Adds or replaces one.
    pub fn put(&self, endpoint: Endpoint) {
        self.write().meters.insert(endpoint.serial.clone(), endpoint);
    }
}
