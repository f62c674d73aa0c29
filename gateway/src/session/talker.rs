//! What speaks on a line: DLMS or Modbus, behind one set of verbs for the task that owns the line.

use super::attempt::Attempt;
use super::dlms::DlmsTalker;
use super::lines::Context;
use super::modbus::ModbusTalker;
use super::model::Model;
use super::trouble::Trouble;
use super::work::{Ending, Serial, Work};
use std::time::Duration;

/// The protocol client of a line.
#[derive(Debug)]
pub(super) enum Talker {
    /// Modbus.
    Modbus(ModbusTalker),
    /// DLMS.
    Dlms(DlmsTalker),
}

impl Talker {
    /// Does one piece of work on a meter.
    pub(super) async fn perform(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        meter: &Serial,
        work: &Work,
    ) -> Result<Ending, Trouble> {
        let endpoint = context
            .directory
            .find(meter)
            .ok_or_else(|| Trouble::NotReady(format!("meter {} is not known", meter.0)))?;
        let model = context
            .models
            .find(&endpoint.model)
            .ok_or_else(|| Trouble::NotReady(format!("there is no model {:?}", endpoint.model)))?;
        match (self, &*model) {
            (Self::Modbus(talker), Model::Modbus(model)) => {
                talker.perform(attempt, &endpoint, model, work).await
            }
            (Self::Dlms(talker), Model::Dlms(model)) => {
                talker.perform(context, attempt, &endpoint, model, work).await
            }
            _ => Err(Trouble::NotReady(format!(
                "model {:?} does not speak what is spoken on line {:?}",
                endpoint.model, endpoint.line
            ))),
        }
    }

    /// The meter whose association is open, if there is such a thing.
    pub(super) fn open_meter(&self) -> Option<&Serial> {
        match self {
            Self::Modbus(_) => None,
            Self::Dlms(talker) => talker.open_meter(),
        }
    }

    /// Something is open that should not stay open when nothing is to do.
    pub(super) fn is_open(&self) -> bool {
        self.open_meter().is_some()
    }

    /// How long a connection that is kept may be without use, if one is.
    pub(super) fn keeps_for(&self) -> Option<Duration> {
        match self {
            Self::Modbus(_) => None,
            Self::Dlms(talker) => talker.keeps_for(),
        }
    }

    /// Ends an open association in order.
    pub(super) async fn release(&mut self) {
        match self {
            Self::Modbus(_) => {}
            Self::Dlms(talker) => talker.release().await,
        }
    }

    /// Drops an association that is out of step, without a word to the meter.
    pub(super) fn abandon(&mut self, port_broke: bool) {
        match self {
            Self::Modbus(_) => {}
            Self::Dlms(talker) => talker.abandon(port_broke),
        }
    }
}
