//! What the customer sees and types: display pages, short codes, tokens.

use core::fmt::Write;

use hardware::board::Board;
use heapless::String;
use protocol::cosem::token_gateway::sts_text;
use protocol::sts::meter::TokenResult;

use crate::meter::Meter;

/// A line of text. Longer ones are cut: a display has no more room.
pub type Line = String<64>;

/// Display pages, each with the short code that calls it (`#nn#` at the keypad). The codes are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Credit left.
    Credit = 1,
    /// Energy register.
    Energy = 2,
    /// Power now.
    Power = 3,
    /// Voltage and current.
    Supply = 4,
    /// Whether there is supply, and why not.
    Relay = 5,
    /// The last token and its result.
    LastToken = 6,
    /// Local date and time.
    Clock = 7,
    /// Serial number.
    Serial = 8,
    /// Supply group, key revision and tariff index: what a vendor has to know.
    Vending = 9,
    /// Debt and daily charge.
    Debt = 10,
    /// Emergency credit: on offer, taken, or none.
    Emergency = 11,
}

impl Page {
    /// The pages a display goes through by itself, in order.
    pub const ALL: [Self; 11] = [
        Self::Credit,
        Self::Energy,
        Self::Power,
        Self::Supply,
        Self::Relay,
        Self::LastToken,
        Self::Clock,
        Self::Serial,
        Self::Vending,
        Self::Debt,
        Self::Emergency,
    ];

    /// The page of a short code.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|page| *page as u8 == code)
    }
}

/// Short code that takes the emergency credit on offer.
pub const TAKE_EMERGENCY_CREDIT: u8 = 90;
/// Short code that closes an armed relay, for meters whose button is a key.
pub const RECONNECT: u8 = 91;

/// Writes what fits.
fn line(text: core::fmt::Arguments<'_>) -> Line {
    let mut out = Line::new();
    // A display shows the beginning of what is too long.
    let _ = out.write_fmt(text);
    out
}

impl<B: Board> Meter<B> {
    /// What a page shows.
    pub fn page(&mut self, page: Page) -> Line {
        let status = self.status();
        let unit = match &self.who.options.money {
            Some(money) => core::str::from_utf8(&money.code).unwrap_or("units"),
            None => "Wh",
        };
        let scale = self.who.options.money.map_or(0, |money| money.scale);
        match page {
            Page::Credit => line(format_args!("CREDIT {} {unit}", Scaled(self.record.available(), scale))),
            Page::Energy => line(format_args!(
                "ENERGY {} kWh",
                Scaled(i64::try_from(status.import_wh).unwrap_or(i64::MAX), -3)
            )),
            Page::Power | Page::Supply if !self.conditions.measured => line(format_args!("NO MEASUREMENT")),
            Page::Power => line(format_args!("POWER {} W", status.sample.active_power_mw / 1000)),
            Page::Supply => line(format_args!(
                "{} V {} A",
                Scaled(i64::from(status.sample.voltage_mv) / 100, -1),
                Scaled(i64::from(status.sample.current_ma) / 10, -2)
            )),
            Page::Relay => match status.output_closed {
                Some(true) => line(format_args!("SUPPLY ON")),
                Some(false) => line(format_args!("SUPPLY OFF: {}", status.reason)),
                None => line(format_args!("SUPPLY UNKNOWN")),
            },
            Page::LastToken => match &self.record.last_token {
                None => line(format_args!("NO TOKEN YET")),
                Some(token) => line(format_args!("{}", sts_text(token.result.code()))),
            },
            Page::Clock => {
                let t = {
                    let utc_s = self.utc_s();
                    self.settings.zone.show(utc_s, 0)
                };
                line(format_args!(
                    "{:04}-{:02}-{:02} {:02}:{:02}",
                    t.year, t.month, t.day_of_month, t.hour, t.minute
                ))
            }
            Page::Serial => line(format_args!("METER {}", self.serial().as_str())),
            Page::Vending => {
                let key = self.record.tokens.attributes;
                let (revision, index) = (key.key_revision.get(), key.tariff_index.get());
                match key.supply_group {
                    Some(group) => line(format_args!("SG {:06} KRN {revision} TI {index:02}", group.get())),
                    None => line(format_args!("SG ? KRN {revision} TI {index:02}")),
                }
            }
            Page::Debt => line(format_args!(
                "DEBT {} DAILY {}",
                Scaled(i64::from(self.record.terms.debt), scale),
                Scaled(i64::from(self.record.terms.daily.active), scale)
            )),
            Page::Emergency => {
                let terms = &self.record.terms;
                let left = self.record.ledger.remaining();
                if terms.emergency.taken {
                    let left = terms.emergency_left(left);
                    line(format_args!("EMERGENCY LEFT {} {unit}", Scaled(left, scale)))
                } else if terms.offers_emergency(left) {
                    line(format_args!("EMERGENCY CREDIT: #{TAKE_EMERGENCY_CREDIT}#"))
                } else {
                    line(format_args!("NO EMERGENCY CREDIT"))
                }
            }
        }
    }

    /// A person finished typing: `#nn#` is a short code, anything else is a token. Gives what the display answers.
    pub fn typed(&mut self, keys: &str) -> Line {
        let code = keys.strip_prefix('#').and_then(|k| k.strip_suffix('#'));
        let Some(code) = code else {
            let result = self.type_token(keys);
            return match result {
                TokenResult::Accept => self.page(Page::Credit),
                _ => line(format_args!("{}", sts_text(result.code()))),
            };
        };
        match code.parse() {
            Ok(TAKE_EMERGENCY_CREDIT) => match self.take_emergency_credit() {
                Ok(()) => self.page(Page::Emergency),
                Err(_) => line(format_args!("NO EMERGENCY CREDIT")),
            },
            Ok(RECONNECT) => match self.press_button() {
                Ok(()) => self.page(Page::Relay),
                Err(refused) => match refused.held_by {
                    Some(reason) => line(format_args!("NOT NOW: {reason}")),
                    None => line(format_args!("NOT ARMED")),
                },
            },
            Ok(code) => match Page::of_code(code) {
                Some(page) => self.page(page),
                None => line(format_args!("NO SUCH CODE")),
            },
            Err(_) => line(format_args!("NO SUCH CODE")),
        }
    }
}

/// A number times a power of ten from -5 to 0, in decimal.
struct Scaled(i64, i8);

impl core::fmt::Display for Scaled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let places = usize::from(self.1.clamp(-5, 0).unsigned_abs());
        if places == 0 {
            return write!(f, "{}", self.0);
        }
        let unit = [1, 10, 100, 1_000, 10_000, 100_000][places];
        let sign = if self.0 < 0 { "-" } else { "" };
        let value = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:0places$}", value / unit, value % unit)
    }
}
