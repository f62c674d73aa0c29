//! Where each meter is: what a line needs to know to reach it. Shared by the store (which fills it) and the lines (which look).

use super::work::Serial;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

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

/// All endpoints. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<HashMap<Serial, Endpoint>>>);

impl Directory {
    /// The endpoint of a meter.
    #[must_use]
    pub fn find(&self, serial: &Serial) -> Option<Endpoint> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(serial).cloned()
    }

    /// Adds or replaces one.
    pub fn put(&self, endpoint: Endpoint) {
        let mut map = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.insert(endpoint.serial.clone(), endpoint);
    }
}
