//! What an answer changes in the store: the command's steps, the money behind a token, what was read.

use super::observe;
use crate::guards::Rules;
use crate::reading::plausibility::Thresholds;
use crate::session::work::{RelayTested, Report};
use crate::store::alarm::{self, AlarmKind};
use crate::store::command::{Command, CommandEvent, CommandKind, CommandState};
use crate::store::ledger::{Account, Entry};
use crate::store::meter::Meter;
use crate::store::payment::{self, PaymentState};
use crate::store::{Connection, StoreError, command, event, ledger, observation, special};
use jiff::Timestamp;
use serde_json::json;

use std::sync::Arc;

/// One command's change, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The command before it.
    pub command: Command,
    /// Its meter.
    pub meter: Meter,
    /// The steps it takes; none when there is no news.
    pub steps: Vec<CommandEvent>,
    /// The meter may have acted.
    pub dispatched: bool,
    /// When it expires from now on, where that has changed.
    pub not_after: Option<Timestamp>,
    /// The answer, when there was one.
    pub report: Option<Report>,
    /// The guards of a disconnection that may follow.
    pub rules: Arc<Rules>,
    /// What a reading has to look like.
    pub thresholds: Thresholds,
}

/// The steps a verdict stands for. The first carries the session's evidence; a repetition of what is known is no step.
pub(super) fn steps(
    states: &[(CommandState, String)],
    report: &Report,
    before: &Command,
) -> Vec<CommandEvent> {
    if let [(state, line)] = states
        && *state == before.state
        && before.outcome.as_ref() == Some(line)
    {
        return Vec::new();
    }
    let mut evidence = report.evidence.clone();
    states
        .iter()
        .map(|(state, line)| {
            let mut evidence = std::mem::take(&mut evidence);
            evidence.push(line.clone());
            CommandEvent { state: *state, at: report.ended, evidence }
        })
        .collect()
}

impl Outcome {
    /// Writes it, all in the caller's transaction.
    pub(super) async fn store(&self, conn: &mut Connection) -> Result<(), StoreError> {
        for step in &self.steps {
            command::advance(conn, &self.command, step, self.dispatched).await?;
            self.settle_money(conn, step).await?;
            if step.state == CommandState::Verified && self.command.request.kind == CommandKind::Commission {
                observation::commissioned(conn, &self.meter.serial, step.at).await?;
            }
        }
        self.close_alarms(conn).await?;
        if self.steps.is_empty() {
            command::set_dispatched(conn, self.command.id, self.dispatched).await?;
        }
        if let Some(not_after) = self.not_after {
            command::set_not_after(conn, self.command.id, not_after).await?;
        }
        if let Some(report) = &self.report {
            observe::observe(
                conn,
                &self.meter,
                report,
                &self.command.request.correlation,
                &self.rules,
                &self.thresholds,
                self.refused(),
            )
            .await?;
        }
        Ok(())
    }

    /// A disconnection that the meter did not carry out, in its words.
    fn refused(&self) -> Option<&str> {
        let opens = matches!(self.command.request.kind, CommandKind::Disconnect | CommandKind::TestRelay);
        let step = self.steps.iter().find(|step| opens && step.state == CommandState::Rejected)?;
        step.evidence.last().map(String::as_str)
    }

    /// What a verified command is evidence against: a tamper condition that was cleared, by the word of whoever looked at the
    /// meter; a relay that was seen to open and to close.
    async fn close_alarms(&self, conn: &mut Connection) -> Result<(), StoreError> {
        let Some(report) = &self.report else { return Ok(()) };
        if !self.steps.iter().any(|step| step.state == CommandState::Verified) {
            return Ok(());
        }
        let (request, times) = (&self.command.request, (report.started, report.ended));
        match (request.kind, &request.breach) {
            (CommandKind::ClearTamper, Some(found)) => {
                let words = request.reason_text.as_deref().unwrap_or_default();
                let words =
                    format!("case {}: {words}; cleared by command {}", found.case_id, self.command.id);
                let by = (found.confirmed_by.as_str(), words.as_str());
                alarm::settle(conn, &request.serial, AlarmKind::Tamper, by, times).await
            }
            (CommandKind::TestRelay, _) if report.facts.relay_tested == Some(RelayTested::Operated) => {
                let evidence = "tested: it opened, nothing flowed, and it was brought back";
                alarm::clear(conn, &request.serial, AlarmKind::DoesNotAct, evidence, times).await
            }
            _ => Ok(()),
        }
    }

    /// Moves the money of a token with its delivery: accepted, or owed back.
    async fn settle_money(&self, conn: &mut Connection, step: &CommandEvent) -> Result<(), StoreError> {
        let Some(token_id) = self.command.request.token_id else { return Ok(()) };
        let (account, state) = match step.state {
            CommandState::Verified => (Account::Accepted, PaymentState::Accepted),
            CommandState::Rejected => (Account::Refused, PaymentState::Refused),
            _ => return Ok(()),
        };
        let corrupt = || StoreError::Corrupt(format!("token {token_id} of command {}", self.command.id));
        let Some(token) = payment::token(conn, token_id).await? else {
            // Nobody paid for it: the next token of its set follows.
            let result = self.report.as_ref().and_then(|report| report.facts.token_status);
            special::follow(conn, &self.command, token_id, step, result.map(|(_, result)| result)).await?;
            return special::go_on_after_another(conn, &self.meter.serial, step.at).await;
        };
        let payment = payment::find(conn, token.payment_id).await?.ok_or_else(corrupt)?;
        self.move_money(conn, &payment, account, step.at).await?;
        payment::set_state(conn, payment.id, state).await?;
        let detail = json!({
            "payment_id": payment.id, "amount_minor": payment.request.amount, "energy_wh": payment.energy, "state": state,
        });
        event::record(conn, step.at, "payment", Some(&self.meter.serial.0), &detail).await?;
        special::go_on_after_another(conn, &self.meter.serial, step.at).await
    }

    async fn move_money(
        &self,
        conn: &mut Connection,
        payment: &payment::Payment,
        to: Account,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let owner = &self.meter.serial.0;
        let entries = [
            Entry::money(Account::OnTheWay, owner, -payment.billed),
            Entry::money(to, owner, payment.billed),
        ];
        ledger::post(conn, to.as_str(), Some(payment.id), at, &entries).await
    }

    /// Whether this made a meter ready to be read.
    pub(super) fn is_commissioned(&self) -> bool {
        self.command.request.kind == CommandKind::Commission
            && self.steps.iter().any(|step| step.state == CommandState::Verified)
    }

    /// One log line per step.
    pub(super) fn log(&self) {
        for step in &self.steps {
            let request = &self.command.request;
            tracing::info!(
                command = self.command.id,
                meter = request.serial.0,
                correlation = request.correlation,
                kind = request.kind.as_str(),
                state = step.state.as_str(),
                outcome = step.evidence.last().map_or("", String::as_str),
                "command"
            );
        }
    }
}
