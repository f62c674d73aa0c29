//! Work on Modbus meters: read by register model, switched by the coil or register that commands their relay, and believe only the sensed contact.

mod plan;
#[cfg(test)]
mod tests;
mod wire;

pub use plan::{Limits, ReadRequest, optimise, plan};
pub use wire::{Framing, Wire};

use super::attempt::Attempt;
use super::directory::Endpoint;
use super::model::{ModbusModel, Point, Role, Table};
use super::order::Order;
use super::relay_test::{Look, RelayTest};
use super::trouble::Trouble;
use super::work::{Ending, RelayState, RelayTested, Work};
use protocol::cosem::disconnect::RelayReason;
use std::time::Duration;

/// How long a relay may take to move after it was commanded, and how often it is looked at meanwhile.
const RELAY_MOVES_WITHIN: Duration = Duration::from_secs(5);
const RELAY_POLL: Duration = Duration::from_millis(250);

/// Does work on the meters of one Modbus line.
#[derive(Debug)]
pub struct ModbusTalker {
    wire: Wire,
}

impl ModbusTalker {
    /// A talker on a line that opens when it is used.
    #[must_use]
    pub const fn new(wire: Wire) -> Self {
        Self { wire }
    }

    /// Closes the line until it is used again.
    pub fn close(&mut self) {
        self.wire.close();
    }

    /// Does one piece of work.
    ///
    /// # Errors
    /// [`Trouble`]; what it means for the meter is for [`Attempt::end`] to say.
    pub async fn perform(
        &mut self,
        attempt: &mut Attempt,
        endpoint: &Endpoint,
        model: &ModbusModel,
        work: &Work,
    ) -> Result<Ending, Trouble> {
        let unit: u8 =
            endpoint.address.parse().ok().filter(|unit| (1..=247).contains(unit)).ok_or_else(|| {
                Trouble::NotReady(format!("{:?} is not a Modbus unit of 1 to 247", endpoint.address))
            })?;
        if let Some(reason) = model.lacks(work.needs()) {
            return Ok(Ending::Rejected { reason, code: None });
        }
        let mut meter = Meter { wire: &mut self.wire, unit, model };
        match work {
            Work::Commission => meter.commission(attempt, endpoint).await,
            Work::Read | Work::Audit => {
                meter.read(attempt, |role| role != Role::RelayCommand).await.map(|()| Ending::Done)
            }
            Work::Disconnect => meter.switch(attempt, endpoint, false).await,
            Work::Reconnect => meter.switch(attempt, endpoint, true).await,
            Work::Carry(Order::TestRelay(test)) => meter.test_relay(attempt, endpoint, test).await,
            Work::Identify => meter.identify(attempt).await,
            work => Err(Trouble::NotReady(format!("a Modbus meter cannot {}", work.name()))),
        }
    }
}

/// Exception codes by which a gateway says that nobody answered behind it (Modbus application protocol 1.1b3, clause 7).
const NOBODY: [u8; 2] = [10, 11];

/// One meter on the line, for the duration of one piece of work.
struct Meter<'a> {
    wire: &'a mut Wire,
    unit: u8,
    model: &'a ModbusModel,
}

impl Meter<'_> {
    async fn commission(&mut self, attempt: &mut Attempt, endpoint: &Endpoint) -> Result<Ending, Trouble> {
        self.read(attempt, |role| role != Role::RelayCommand).await?;
        Ok(self
            .wrong_identity(attempt, endpoint)
            .map_or(Ending::Done, |reason| Ending::Rejected { reason, code: None }))
    }

    /// Who is there: its serial number, where the model has one and the meter gives it. A refusal is an answer too.
    async fn identify(&mut self, attempt: &mut Attempt) -> Result<Ending, Trouble> {
        let known = self.model.point(Role::Serial).is_some();
        let asked =
            self.read(attempt, |role| if known { role == Role::Serial } else { role != Role::RelayCommand });
        match asked.await {
            Err(Trouble::Refused { reason, code: Some(code) }) if NOBODY.contains(&code) => {
                Err(Trouble::Silent { waited_for: reason, waited: self.model.response_timeout })
            }
            Err(Trouble::Refused { reason, code }) => Ok(Ending::Rejected { reason, code }),
            outcome => outcome.map(|()| Ending::Done),
        }
    }

    /// Why the meter is not the one that was meant, if so. A model without a serial register cannot be checked.
    fn wrong_identity(&self, attempt: &mut Attempt, endpoint: &Endpoint) -> Option<String> {
        if self.model.point(Role::Serial).is_none() {
            attempt.note("the model has no serial number: identity not checked");
            return None;
        }
        let said = attempt.facts.serial.clone().unwrap_or_default();
        (said != endpoint.serial.0)
            .then(|| format!("the meter says it is {said:?}, expected {}", endpoint.serial.0))
    }

    /// Reads every wanted point into the facts.
    async fn read(&mut self, attempt: &mut Attempt, wanted: impl Fn(Role) -> bool) -> Result<(), Trouble> {
        let mut answers = Vec::new();
        for request in plan(self.model, &wanted) {
            answers.push((request, self.ask(request).await?));
        }
        for point in self.model.points.iter().filter(|point| wanted(point.role)) {
            let mut parts =
                point.spans().map(|span| answers.iter().find_map(|(of, words)| of.part(span, words)));
            let (own, factor) = (parts.next().flatten(), parts.next().flatten());
            if let Some(own) = own {
                learn(attempt, point, own, factor.and_then(|words| words.first().copied()));
            }
        }
        Ok(())
    }

    /// One read, repeated once if its answer was damaged: reading changes nothing.
    async fn ask(&mut self, request: ReadRequest) -> Result<Vec<u16>, Trouble> {
        let patience = self.model.response_timeout;
        match self.wire.read(self.unit, request, patience).await {
            Err(Trouble::Protocol(_)) => self.wire.read(self.unit, request, patience).await,
            answer => answer,
        }
    }

    async fn switch(
        &mut self,
        attempt: &mut Attempt,
        endpoint: &Endpoint,
        close: bool,
    ) -> Result<Ending, Trouble> {
        let Some(command) = self.model.point(Role::RelayCommand) else {
            return Err(Trouble::NotReady(
                "the meter's model does not say how its relay is commanded".into(),
            ));
        };
        self.read(attempt, |role| matches!(role, Role::Serial | Role::RelayClosed | Role::PowerW)).await?;
        if let Some(reason) = self.wrong_identity(attempt, endpoint) {
            return Ok(Ending::Rejected { reason, code: None });
        }
        let word = if close { "close" } else { "open" };
        attempt.note(format!("sending: {} of unit {} to {word} the relay", place(command), self.unit));
        let patience = self.model.response_timeout;
        let words = command.command(close);
        match self.wire.write(self.unit, command, &words, patience, || attempt.about_to_send()).await {
            Ok(()) => attempt.note("the meter took the command"),
            // An exception is an answer: the meter says that it did not do it.
            Err(Trouble::Refused { reason, code }) => {
                attempt.note(&reason);
                return Ok(Ending::Rejected { reason, code });
            }
            Err(trouble) => return Err(trouble),
        }
        self.verify(attempt, close).await
    }

    /// Looks at the relay, and where that is allowed opens it and closes it again in one go.
    async fn test_relay(
        &mut self,
        attempt: &mut Attempt,
        endpoint: &Endpoint,
        test: &RelayTest,
    ) -> Result<Ending, Trouble> {
        self.read(attempt, |role| matches!(role, Role::Serial | Role::RelayClosed | Role::PowerW)).await?;
        match test.look(&attempt.facts, true) {
            Look::Fails(reason) => return Ok(Ending::Rejected { reason, code: None }),
            Look::Ends(how, line) => {
                attempt.note(line);
                attempt.facts.relay_tested = Some(how);
                return Ok(Ending::Done);
            }
            Look::Operates => {}
        }
        let opened = self.switch(attempt, endpoint, false).await?;
        let closed = self.switch(attempt, endpoint, true).await?;
        match (opened, closed) {
            (Ending::Done, Ending::Done) => {
                attempt.facts.relay_tested = Some(RelayTested::Operated);
                Ok(Ending::Done)
            }
            (
                Ending::Done,
                Ending::Rejected { reason, .. } | Ending::NotSent { reason } | Ending::Unknown { reason },
            ) => Ok(Ending::Unknown { reason: format!("it opened, and it is not closed again: {reason}") }),
            (refused, _) => Ok(refused),
        }
    }

    /// Looks at the contact, and after opening at the power too, until they agree with the command or time is up.
    async fn verify(&mut self, attempt: &mut Attempt, close: bool) -> Result<Ending, Trouble> {
        let wanted = |role: Role| role == Role::RelayClosed || (!close && role == Role::PowerW);
        let mut looked = Duration::ZERO;
        loop {
            self.read(attempt, wanted).await?;
            let closed = attempt.facts.relay.map(|relay| relay.output_closed);
            let flows = !close && attempt.facts.power_w.is_some_and(|power| power != 0);
            if closed == Some(close) && !flows {
                return Ok(Ending::Done);
            }
            if looked >= RELAY_MOVES_WITHIN {
                let seconds = RELAY_MOVES_WITHIN.as_secs();
                let reason = if closed == Some(close) {
                    format!("the contact is open, but {} W still flow", attempt.facts.power_w.unwrap_or(0))
                } else {
                    let sensed = sensed(closed);
                    format!(
                        "the meter took the command, but {seconds} s later the contact is sensed {sensed}"
                    )
                };
                attempt.note(&reason);
                return Ok(Ending::Rejected { reason, code: None });
            }
            tokio::time::sleep(RELAY_POLL).await;
            looked += RELAY_POLL;
        }
    }
}

/// A contact's state for people.
const fn sensed(closed: Option<bool>) -> &'static str {
    match closed {
        Some(true) => "closed",
        Some(false) => "open",
        None => "neither closed nor open",
    }
}

/// Where a point is, for people.
fn place(point: &Point) -> String {
    let table = match point.table {
        Table::Coil => "coil",
        Table::Discrete => "discrete input",
        Table::Holding => "holding register",
        Table::Input => "input register",
    };
    format!("{table} {}", point.address)
}

/// Puts one value into the facts, with a line of evidence.
fn learn(attempt: &mut Attempt, point: &Point, registers: &[u16], factor: Option<u16>) {
    let place = place(point);
    if point.role == Role::Serial {
        let serial = point.text(registers);
        attempt.note(format!("{place}: serial {}", serial.as_deref().unwrap_or("unreadable")));
        attempt.facts.serial = serial;
        return;
    }
    if point.role == Role::RelayClosed {
        // What was sensed before says nothing about now.
        let closed = point.closed(registers);
        attempt.facts.relay = closed.map(|output_closed| RelayState { output_closed, control_state: None });
        return attempt.note(format!("{place}: relay contact sensed {}", sensed(closed)));
    }
    let Some(value) = point.integer(registers, factor) else {
        attempt.note(format!("{place}: {:?} is not there or out of range", point.role));
        return;
    };
    let text = match point.role {
        Role::Serial | Role::RelayClosed | Role::RelayCommand => return,
        Role::ImportWh => {
            attempt.facts.import_wh = Some(value);
            format!("energy import {value} Wh")
        }
        Role::CreditWh => {
            attempt.facts.credit_wh = Some(value);
            format!("credit {value} Wh")
        }
        Role::PowerW => {
            attempt.facts.power_w = Some(value);
            format!("power {value} W")
        }
        Role::RelayReason => {
            let known = u8::try_from(value).ok().and_then(RelayReason::from_u8);
            let text = known.map_or_else(|| format!("code {value}"), |reason| reason.text().to_owned());
            attempt.facts.relay_reason = Some(text.clone());
            format!("relay reason {text}")
        }
        Role::VoltageMv => format!("voltage {value} mV"),
        Role::CurrentMa => format!("current {value} mA"),
        Role::FrequencyMhz => format!("frequency {value} mHz"),
    };
    attempt.note(format!("{place}: {text}"));
}
