//! A meter as the API shows it.

use crate::fault_entry::FaultName;
use crate::load::Kind;
use crate::roll::{Entry, Model};
use crate::street::Street;
use firmware::display::Page;
use serde::{Deserialize, Serialize};

/// One meter. What the meter itself would have to say is missing while it is dark.
#[derive(Debug, Clone, Serialize)]
pub struct MeterView {
    /// Number in the street.
    pub index: u32,
    /// Serial number of the meter that belongs at the place; the display shows that of the one that hangs there.
    pub serial: String,
    /// DLMS or Modbus.
    pub model: Model,
    /// `wrapper`, `hdlc`, `line`, `modbus_line` or `modbus_tcp`.
    pub transport: &'static str,
    /// IP address, or the station's address on its line.
    pub address: String,
    /// TCP port, where there is one.
    pub port: Option<u16>,
    /// What kind of household is behind it.
    pub household: Option<Kind>,
    /// It has power.
    pub powered: bool,
    /// Where the contact really is.
    pub contact_closed: bool,
    /// What the relay's logic wants: 0 open, 1 closed, 2 open and armed.
    pub control_state: Option<u8>,
    /// Why it is open.
    pub reason: Option<String>,
    /// The contact does not follow, as far as the meter noticed.
    pub relay_faulty: Option<bool>,
    /// Credit left, watt-hours.
    pub credit_wh: Option<i64>,
    /// Credit taken by tokens so far, watt-hours.
    pub credited_wh: Option<i64>,
    /// Energy register, watt-hours.
    pub import_wh: Option<u64>,
    /// Power it measures, watts.
    pub power_w: Option<i32>,
    /// Voltage it measures, millivolts.
    pub voltage_mv: Option<u32>,
    /// What a person switched on besides the household's own load, watts.
    pub extra_load_w: u32,
    /// How often it has started.
    pub lives: u32,
    /// Version of the firmware image that runs.
    pub firmware: Option<String>,
    /// Pages of its display, in order; none while it is dark.
    pub display: Vec<String>,
    /// What is wrong with it, or waits to go wrong.
    pub faults: Vec<FaultName>,
}

impl MeterView {
    /// How it stands with the meter of this entry of the roll.
    #[must_use]
    pub fn of(street: &Street, entry: &Entry) -> Option<Self> {
        let meter = street.meter(entry.index)?;
        let truth = meter.truth();
        let status = truth.status;
        let pages = |firmware: &mut crate::meter::Firmware| {
            Page::ALL.into_iter().map(|page| firmware.page(page).as_str().to_owned()).collect()
        };
        let mut household = None;
        meter.look_at_board(|board| household = board.household().map(crate::load::Household::kind));
        Some(Self {
            index: entry.index,
            serial: entry.serial.clone(),
            model: entry.model,
            transport: entry.transport,
            address: entry.address.clone(),
            port: entry.port,
            household,
            powered: truth.powered,
            contact_closed: truth.contact_closed,
            control_state: status.map(|status| status.control_state as u8),
            reason: status.map(|status| status.reason.to_string()),
            relay_faulty: status.map(|status| status.relay_faulty),
            credit_wh: status.map(|status| status.credit_wh),
            credited_wh: truth.credited_wh,
            import_wh: status.map(|status| status.import_wh),
            power_w: status.map(|status| status.sample.active_power_mw / 1000),
            voltage_mv: status.map(|status| status.sample.voltage_mv),
            extra_load_w: meter.lasting().0.extra_w,
            lives: truth.lives,
            firmware: truth.firmware.map(|version| version.to_string()),
            display: meter.at_panel(pages).unwrap_or_default(),
            faults: meter.faults(),
        })
    }
}

/// Which meters.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// Those with higher numbers than this.
    #[serde(default)]
    pub(super) after: u32,
    /// So many at most.
    #[serde(default = "usual_limit")]
    pub(super) limit: usize,
}

const fn usual_limit() -> usize {
    100
}

/// Most meters of one answer.
const LIMIT_MAX: usize = 1000;

impl Window {
    /// The meters in it, and the number to go on after where there are more.
    pub(super) fn meters(self, street: &Street) -> (Vec<MeterView>, Option<u32>) {
        let limit = self.limit.clamp(1, LIMIT_MAX);
        let rest = || street.roll().iter().skip(self.after as usize);
        let views: Vec<MeterView> =
            rest().take(limit).filter_map(|entry| MeterView::of(street, entry)).collect();
        let next = rest().nth(limit).map(|entry| entry.index - 1);
        (views, next)
    }
}
