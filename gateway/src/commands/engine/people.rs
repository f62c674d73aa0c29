//! What people say about commands that are not finished: agreed, declined, taken back.

use super::{CANCELLED_BY, Engine, Open, Step};
use crate::commands::desk::{DeskError, Said, Word};
use crate::store::command::{CommandEvent, CommandState};
use crate::store::{StoreError, command, event};
use tokio::time::Instant;

impl Engine {
    /// Does what was said, or says why not.
    pub(super) async fn hear(&mut self, said: Said) {
        let done = self.act_on(&said).await;
        // Whoever asked may have gone away; the store has it.
        let _ = said.answer.send(done);
    }

    async fn act_on(&mut self, said: &Said) -> Result<(), DeskError> {
        // It may have been recorded a moment ago.
        self.load(false).await?;
        // What lies with its line may have reached the meter: that is not for the clock to end.
        let in_flight = self.open.get(&said.id).is_some_and(|open| open.in_flight);
        if !in_flight && self.expire(said.id).await? {
            return Err(DeskError::NotOpen(said.id));
        }
        let open = self.open.get(&said.id).cloned().ok_or(DeskError::NotOpen(said.id))?;
        match said.word {
            Word::Cancel => self.cancel(open, &said.by).await,
            Word::Approve | Word::Decline if open.command.state != CommandState::Waiting => {
                Err(DeskError::NotWaiting(open.command.state))
            }
            Word::Decline => {
                self.end(open, &said.by, "decline_command", format!("declined by {}", said.by)).await
            }
            Word::Approve => self.approve(open, &said.by).await,
        }
    }

    async fn approve(&mut self, mut open: Open, by: &str) -> Result<(), DeskError> {
        if open.command.request.actor == by {
            return Err(DeskError::SamePerson(by.to_owned()));
        }
        let unmet = self.unmet(&open.command, true).await?;
        if !unmet.is_empty() {
            return Err(DeskError::Guards(unmet));
        }
        let now = self.clock.now();
        let not_after = now.checked_add(self.policy.now().command_expiry).ok();
        let step = CommandEvent {
            state: CommandState::Recorded,
            at: now,
            evidence: vec![format!("approved by {by}")],
        };
        let (before, actor) = (open.command.clone(), by.to_owned());
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let request = &before.request;
                    event::audit(
                        conn,
                        now,
                        &actor,
                        "approve_command",
                        &request.serial.0,
                        &request.correlation,
                    )
                    .await?;
                    command::approve(conn, &before, &actor, not_after, &step).await
                })
            })
            .await?;
        open.command.state = CommandState::Recorded;
        open.command.approved_by = Some(by.to_owned());
        open.command.request.not_after = not_after;
        open.due = Instant::now();
        self.open.insert(open.command.id, open);
        Ok(())
    }

    /// Takes a command back, if nothing of it can have reached the meter; what lies in its line's queue is not tried again.
    async fn cancel(&mut self, open: Open, by: &str) -> Result<(), DeskError> {
        let state = open.command.state;
        if open.command.request.token_id.is_some() {
            return Err(DeskError::Token);
        }
        if open.step == Step::Ask || state == CommandState::Sending {
            return Err(DeskError::UnderWay(state));
        }
        if open.in_flight {
            return self.try_no_more(open, by).await;
        }
        self.end(open, by, "cancel_command", format!("{CANCELLED_BY} {by}")).await
    }

    /// A command in its line's queue: what comes back undone is not tried again, not after a restart either, for its time is
    /// over.
    async fn try_no_more(&mut self, mut open: Open, by: &str) -> Result<(), DeskError> {
        let now = self.clock.now();
        let (before, actor) = (open.command.clone(), by.to_owned());
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let request = &before.request;
                    let action = "cancel_command";
                    event::audit(conn, now, &actor, action, &request.serial.0, &request.correlation).await?;
                    command::set_not_after(conn, before.id, now).await
                })
            })
            .await?;
        open.command.request.not_after = Some(now);
        open.cancelled_by = Some(by.to_owned());
        self.open.insert(open.command.id, open);
        Ok(())
    }

    async fn end(
        &mut self,
        open: Open,
        by: &str,
        action: &'static str,
        line: String,
    ) -> Result<(), DeskError> {
        let now = self.clock.now();
        let step = CommandEvent { state: CommandState::Cancelled, at: now, evidence: vec![line] };
        let (before, actor) = (open.command, by.to_owned());
        let id = before.id;
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let request = &before.request;
                    event::audit(conn, now, &actor, action, &request.serial.0, &request.correlation).await?;
                    command::advance(conn, &before, &step, false).await
                })
            })
            .await?;
        self.open.remove(&id);
        Ok(())
    }
}
