//! Plays a case: does what each step says, reads the meters, and holds them against what is expected.

use super::case::{Case, Loss, Step};
use super::check::{Found, check, mode_name, within};
use super::reading::{HeadEnd, Reading};
use crate::client::End;
use crate::clock::SimClock;
use crate::meter::SimMeter;
use crate::street::Street;
use crate::vendor::credit_token;
use anyhow::{Context, bail};
use firmware::display::Page;
use protocol::codec::axdr::Data;
use protocol::cosem::account::{self, PaymentMode};
use protocol::cosem::{disconnect, obis};
use protocol::dlms::model::Method;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A street's time passes in steps of this while a case is played.
const STEP_MS: u64 = 10_000;

/// How a case ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Expectations that were met.
    pub met: usize,
    /// Expectations that were not, with their steps.
    pub failed: Vec<String>,
}

/// Plays a case on a street of its own, telling each line to `tell`. Must be called inside a tokio runtime.
///
/// # Errors
/// The street does not start, or a step asks for what there is not.
pub async fn play(case: Case, tell: impl FnMut(&str)) -> anyhow::Result<Outcome> {
    let Case { mut street, steps, .. } = case;
    let start_utc_s = u32::try_from(street.clock.utc_ms() / 1000).context("the start is after 2106")?;
    street.clock = SimClock::held_at(start_utc_s);
    street.port = 0;
    let head_end = HeadEnd::new(street.keys.clone());
    let street = Street::start(street).await?;
    let mut player = Player {
        street,
        head_end,
        tokens: BTreeMap::new(),
        remembered: BTreeMap::new(),
        vended: 0,
        outcome: Outcome::default(),
        tell,
    };
    for step in &steps {
        player.step(step).with_context(|| format!("step \"{}\"", step.say))?;
    }
    Ok(player.outcome)
}

/// All meters' readings at one time, and the feeder's register.
type Readings = (BTreeMap<u32, Reading>, i64);

struct Player<T> {
    street: Street,
    head_end: HeadEnd,
    tokens: BTreeMap<String, String>,
    remembered: BTreeMap<String, Readings>,
    vended: u32,
    outcome: Outcome,
    tell: T,
}

impl<T: FnMut(&str)> Player<T> {
    fn meter(&self, index: u32) -> anyhow::Result<Arc<SimMeter>> {
        self.street.meter(index).cloned().with_context(|| format!("there is no meter {index}"))
    }

    fn token(&self, name: &str) -> anyhow::Result<String> {
        self.tokens.get(name).cloned().with_context(|| format!("no token {name} was vended"))
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        (self.tell)(&format!("- {}", step.say));
        let answer = self.carry_out(step)?;
        if let Some(answer) = &answer {
            (self.tell)(&format!("    answer: {answer}"));
        }
        if let Some(span) = step.advance {
            self.street.advance(span.ms, STEP_MS);
        }
        if let Some(wanted) = &step.answer {
            let got = answer.unwrap_or_default();
            let text = format!("answer {got}, expected {wanted}");
            self.note(&step.say, "", Found { met: got.contains(wanted.as_str()), text });
        }
        if let Some(name) = &step.remember {
            let readings = self.read_all()?;
            self.remembered.insert(name.clone(), readings);
        }
        for expect in &step.expect {
            for index in &expect.meters {
                let meter = self.meter(*index)?;
                let reading = self.head_end.read(&meter);
                let pages = |firmware: &mut crate::meter::Firmware| {
                    Page::ALL.into_iter().map(|page| firmware.page(page).as_str().to_owned()).collect()
                };
                let display: Vec<String> = meter.at_panel(pages).unwrap_or_default();
                let earlier = match &expect.since {
                    Some(name) => self.earlier(name)?.0.get(index).cloned(),
                    None => None,
                };
                for found in check(expect, reading.as_ref(), &display, earlier.as_ref()) {
                    self.note(&step.say, &format!("meter {index}: "), found);
                }
            }
        }
        if let Some(loss) = &step.loss {
            self.check_loss(&step.say, loss)?;
        }
        Ok(())
    }

    fn note(&mut self, say: &str, whose: &str, found: Found) {
        let mark = if found.met { "ok" } else { "NOT AS EXPECTED" };
        (self.tell)(&format!("    {mark}: {whose}{}", found.text));
        if found.met {
            self.outcome.met += 1;
        } else {
            self.outcome.failed.push(format!("{say}: {whose}{}", found.text));
        }
    }

    fn earlier(&self, name: &str) -> anyhow::Result<&Readings> {
        self.remembered.get(name).with_context(|| format!("nothing was remembered as {name}"))
    }

    fn read_all(&mut self) -> anyhow::Result<Readings> {
        let mut readings = BTreeMap::new();
        for index in 1..=self.street.config().all_meters() {
            let meter = self.meter(index)?;
            if let Some(reading) = self.head_end.read(&meter) {
                readings.insert(index, reading);
            }
        }
        Ok((readings, self.feeder_wh()?))
    }

    /// The feeder's register, asked for over Modbus.
    fn feeder_wh(&self) -> anyhow::Result<i64> {
        use protocol::modbus::{PREPAID_METER, Quantity};
        let register = PREPAID_METER.iter().find(|entry| entry.quantity == Quantity::ImportEnergy);
        let register = register.context("the register map has no import energy")?;
        let ([high, low], count) = (register.address.to_be_bytes(), register.kind.registers());
        let answer = self.street.feeder().modbus(&[4, high, low, 0, count as u8]); // at most 125
        let (answer, _) = answer.context("the feeder's meter does not answer")?;
        let words = answer.get(2..).context("the feeder's answer is short")?;
        Ok(words.iter().fold(0, |value, byte| value << 8 | i64::from(*byte)))
    }

    fn check_loss(&mut self, say: &str, loss: &Loss) -> anyhow::Result<()> {
        let now = self.read_all()?;
        let (earlier, feeder_before) = self.earlier(&loss.since)?;
        let feeder = now.1 - feeder_before;
        let rose = |index: &u32, before: &Reading| Some(now.0.get(index)?.import_wh - before.import_wh);
        let meters: i64 = earlier.iter().filter_map(|(index, before)| rose(index, before)).sum();
        if feeder <= 0 {
            bail!("nothing flowed through the feeder");
        }
        (self.tell)(&format!("    feeder {feeder} Wh, sum of the meters {meters} Wh"));
        self.note(say, "", within("loss permille", loss.permille, (feeder - meters) * 1000 / feeder));
        Ok(())
    }

    /// Does what a step says. Gives what was answered, if anything was asked.
    fn carry_out(&mut self, step: &Step) -> anyhow::Result<Option<String>> {
        let mut answer = None;
        if let Some(vend) = &step.vend {
            self.vended += 1;
            let utc_s =
                i64::try_from(self.street.config().clock.utc_ms() / 1000)? + 60 * i64::from(self.vended);
            let units = u16::try_from(vend.wh / 100)?;
            let token = credit_token(&self.street.config().keys, vend.meter, units, utc_s)?;
            self.tokens.insert(vend.token.clone(), token);
        }
        if let Some(load) = &step.load {
            for index in &load.meters {
                self.meter(*index)?.set_extra_load_w(load.watts);
            }
        }
        if let Some(fault) = &step.fault {
            self.street.ask(fault).map_err(anyhow::Error::msg)?;
        }
        if let Some(end) = &step.end {
            for index in &end.meters {
                self.meter(*index)?.end(end.fault);
            }
        }
        if let Some(typed) = &step.typed {
            let token = self.token(&typed.token)?;
            let shown = self.meter(typed.meter)?.at_panel(|meter| meter.typed(&token).as_str().to_owned());
            answer = Some(shown.unwrap_or_else(|| "dark".into()));
        }
        if let Some(index) = step.button {
            let pressed = self.meter(index)?.at_panel(|meter| meter.press_button());
            answer = Some(match pressed {
                None => "dark".into(),
                Some(Ok(())) => "closed".into(),
                Some(Err(held)) => {
                    held.held_by.map_or_else(|| "not armed".into(), |reason| format!("held: {reason}"))
                }
            });
        }
        if let Some(sent) = &step.send {
            let token = self.token(&sent.token)?;
            answer = Some(self.visit(sent.meter, |client| client.enter(&token))?);
        }
        for (meters, method) in [
            (&step.disconnect, disconnect::REMOTE_DISCONNECT),
            (&step.reconnect, disconnect::REMOTE_RECONNECT),
        ] {
            for index in meters.iter().flatten() {
                let at: Method = method.of(obis::DISCONNECT);
                answer = Some(self.visit(*index, |client| client.action(at, Data::Integer(0)))?);
            }
        }
        if let Some(set) = &step.set_mode {
            let mode = [PaymentMode::Prepayment, PaymentMode::Credit]
                .into_iter()
                .find(|mode| mode_name(*mode) == set.mode)
                .context("a payment mode is prepayment or credit")?;
            answer = Some(self.visit(set.meter, |client| client.set_payment_mode(mode))?);
        }
        if let Some(set) = &step.set_low_credit {
            let at = account::LOW_CREDIT_THRESHOLD.of(obis::ACCOUNT);
            answer = Some(self.visit(set.meter, |client| client.set(at, Data::DoubleLong(set.wh)))?);
        }
        Ok(answer)
    }

    /// What a meter said to a request of the head-end's.
    fn visit(
        &mut self,
        index: u32,
        request: impl FnOnce(&mut crate::client::MeterClient) -> End,
    ) -> anyhow::Result<String> {
        let meter = self.meter(index)?;
        let Some(mut client) = self.head_end.visit(&meter) else { return Ok("no answer".into()) };
        Ok(match request(&mut client) {
            End::Done | End::Value(_) | End::Open => "done".into(),
            End::Failed(outcome) => format!("{outcome:?}"),
            End::Silence => "no answer".into(),
        })
    }
}

impl<T> std::fmt::Debug for Player<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
