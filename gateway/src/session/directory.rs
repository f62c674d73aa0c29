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
    /// Both ways: a title is of one meter, and a meter has one.
    titles: HashMap<[u8; 8], Serial>,
    title_of: HashMap<Serial, [u8; 8]>,
}

impl Entries {
    fn forget_title(&mut self, serial: &Serial) {
        if let Some(title) = self.title_of.remove(serial) {
            self.titles.remove(&title);
        }
    }
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
        self.read().title_of.get(serial).copied()
    }

    /// A meter that has proved who it is gave this system title.
    pub fn learn_title(&self, serial: &Serial, title: [u8; 8]) {
        if self.read().titles.get(&title) == Some(serial) {
            return;
        }
        let mut entries = self.write();
        entries.forget_title(serial);
        if let Some(other) = entries.titles.insert(title, serial.clone()) {
            entries.title_of.remove(&other);
        }
        entries.title_of.insert(serial.clone(), title);
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
        let mut entries = self.write();
        entries.meters.remove(serial);
        entries.forget_title(serial);
    }

    /// Adds or replaces one.
    pub fn put(&self, endpoint: Endpoint) {
        self.write().meters.insert(endpoint.serial.clone(), endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_of_the_meter_that_gave_it_last_and_a_meter_has_the_last_it_gave() {
        let directory = Directory::default();
        let [one, two] = ["1", "2"].map(|serial| Serial(serial.into()));
        for serial in [&one, &two] {
            let (line, address, model) = Default::default();
            let framing = Framing::Wrapper;
            directory.put(Endpoint { serial: serial.clone(), line, address, framing, model });
        }
        let (old, new) = (*b"MGW\0\0\0\0\x01", *b"MGW\0\0\0\0\x02");
        let meter = |title| directory.of_title(title).map(|endpoint| endpoint.serial);
        directory.learn_title(&one, old);
        directory.learn_title(&one, new);
        assert_eq!((meter(old), meter(new), directory.title_of(&one)), (None, Some(one.clone()), Some(new)));
        // The meter was put to another serial number.
        directory.learn_title(&two, new);
        assert_eq!((meter(new), directory.title_of(&one)), (Some(two.clone()), None));
        directory.learn_title(&one, old);
        assert_eq!((meter(old), meter(new)), (Some(one), Some(two.clone())));
        directory.remove(&two);
        assert_eq!((meter(new), directory.title_of(&two)), (None, None));
    }
}
