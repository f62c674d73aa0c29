//! The bench link: messages out, a provisioning record in.

use embedded_io::{Read, ReadReady, Write};
use firmware::image::format::Model;
use firmware::provisioning::{self, Intake, ProvisioningError};
use firmware::{Meter, Personalisation, Status};
use hardware::board::{Board, Health};
use hardware::stm32f405::{Stm32f405, Uart, wait};

/// What kind of meter an image has to be for.
const MODEL: Model = *b"F405\0\0\0\0";

/// The meter in a record.
///
/// # Errors
/// As [`provisioning::open`].
pub fn open(record: &[u8]) -> Result<Personalisation, ProvisioningError> {
    provisioning::open(record, MODEL)
}

/// The link and what was last told.
#[derive(Debug)]
pub struct Bench {
    uart: Uart,
    relay: Option<(Option<bool>, u8)>,
}

impl Bench {
    /// A link that has told nothing.
    pub fn new(uart: Uart) -> Self {
        Self { uart, relay: None }
    }

    /// One line. It has left when this returns: what follows may be a reset.
    pub fn say(&mut self, text: core::fmt::Arguments<'_>) {
        // Nobody may be connected.
        let _ = self.uart.write_fmt(text);
        let _ = self.uart.write_all(b"\r\n");
        let _ = self.uart.flush();
    }

    /// Tells when the relay has changed.
    pub fn report(&mut self, meter: &mut Meter<Stm32f405>) {
        let Status { output_closed, control_state, reason, .. } = meter.status();
        let relay = Some((output_closed, control_state as u8));
        if relay != self.relay {
            self.relay = relay;
            let contact = output_closed.map_or("unknown", |closed| if closed { "closed" } else { "open" });
            self.say(format_args!("relay {contact}, {control_state:?}, held open by {reason:?}"));
        }
    }

    /// Waits for a valid record, stores it and reads it back. The jumper under the sealed cover must be fitted: a meter in
    /// the field takes no keys from a cable.
    pub fn provision(&mut self, board: &mut Stm32f405) -> Personalisation {
        let mut intake = Intake::default();
        loop {
            board.health().feed_watchdog();
            if !self.uart.read_ready().unwrap_or(false) {
                wait();
                continue;
            }
            let mut byte = [0];
            // Lost bytes spoil the record's check code; the bench sends it again.
            let Ok(1) = self.uart.read(&mut byte) else { continue };
            let Some(record) = intake.push(byte[0]) else { continue };
            match open(record) {
                Err(why) => self.say(format_args!("refused: {why}")),
                Ok(_) if !board.health().calibration_jumper() => {
                    self.say(format_args!("refused: the jumper is not fitted"));
                }
                Ok(who) => match board.write_provisioning(record) {
                    Ok(()) => {
                        self.say(format_args!("provisioned"));
                        return who;
                    }
                    Err(_) => self.say(format_args!("refused: the flash does not hold it")),
                },
            }
        }
    }
}
