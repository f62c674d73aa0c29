//! A limit for a time (class 71): the emergency threshold, the group it is for, and last when it begins and how long it lasts. It
//! ends by itself, whatever becomes of the line.

use super::meter::{Meter, present};
use super::orders::number;
use crate::session::order::EmergencyLimit;
use crate::session::trouble::Trouble;
use crate::session::work::Ending;
use jiff::{SignedDuration, Timestamp};
use protocol::cosem::class::Items;
use protocol::cosem::limiter::{
    EMERGENCY_PROFILE, EMERGENCY_PROFILE_ACTIVE, EMERGENCY_PROFILE_GROUP_ID_LIST, EmergencyProfile,
    THRESHOLD_EMERGENCY,
};

/// The id of profile and group that this gateway uses; our own choice. Zero is no group.
const GROUP: u16 = 1;
/// What is to begin at once begins this much earlier, so that it has begun by a meter's clock that is slow.
const SLOW_CLOCK: SignedDuration = SignedDuration::from_mins(1);

impl Meter<'_> {
    /// Writes threshold and group, then the profile that brings them into force.
    pub(super) async fn limit_emergency(
        &mut self,
        limit: &EmergencyLimit,
    ) -> Result<Option<Ending>, Trouble> {
        let name = present(self.model.objects.limiter)?;
        let now = self.attempt.now();
        if limit.until <= now {
            let reason = format!("{} is over: a limit until then limits nothing", limit.until);
            self.attempt.note(&reason);
            return Ok(Some(Ending::Rejected { reason, code: None }));
        }
        let from = limit.from.unwrap_or_else(|| now.saturating_sub(SLOW_CLOCK).unwrap_or(now));
        let lasts = limit.until.as_second().saturating_sub(from.as_second());
        let duration_s = u32::try_from(lasts)
            .map_err(|_| Trouble::NotReady(format!("{lasts} s are no time that a limiter can hold")))?;
        let at = THRESHOLD_EMERGENCY.of(name);
        let (threshold, was) = self.threshold(at, limit.limit_w).await?;
        self.attempt.note(format!("GET {name} emergency threshold: {was}"));
        self.put(at, threshold, &format!("emergency limit {} W", limit.limit_w)).await?;
        let groups = Items::Held(&[GROUP]);
        self.put(EMERGENCY_PROFILE_GROUP_ID_LIST.of(name), groups, "the group it is for").await?;
        let activation_time = self.meter_time(from)?;
        let profile = EmergencyProfile { id: GROUP, activation_time, duration_s };
        self.put(EMERGENCY_PROFILE.of(name), profile, "when it applies").await?;
        Ok(None)
    }

    /// How the meter's emergency limit differs from what was ordered. One whose time has come has to be in force.
    pub(super) async fn emergency_difference(
        &mut self,
        limit: &EmergencyLimit,
    ) -> Result<Option<String>, Trouble> {
        let name = present(self.model.objects.limiter)?;
        let now = self.attempt.now();
        let wanted = self.counts_of(limit.limit_w).await?;
        let at = THRESHOLD_EMERGENCY.of(name);
        let threshold = self.value_of(at, "the emergency threshold", |data| Ok(number(data))).await?;
        let profile = self.typed::<EmergencyProfile>(EMERGENCY_PROFILE.of(name), "its profile").await?;
        let at = EMERGENCY_PROFILE_ACTIVE.of(name);
        let active = self.typed::<bool>(at, "whether it applies now").await?;
        let from = self.model.clock.from_meter(profile.activation_time, now);
        let until = from.map(|from| from.saturating_add(i64::from(profile.duration_s)));
        let shown = |second: Option<i64>| {
            let time = second.and_then(|second| Timestamp::from_second(second).ok());
            time.map_or_else(|| "never".to_owned(), |time| time.to_string())
        };
        self.attempt.note(format!(
            "GET {name} emergency threshold {}, from {} until {}, applies now: {active}",
            threshold.map_or_else(|| "no number".to_owned(), |counts| counts.to_string()),
            shown(from),
            shown(until),
        ));
        let as_ordered = threshold == Some(wanted)
            && until == Some(limit.until.as_second())
            && limit.from.is_none_or(|wanted| from == Some(wanted.as_second()));
        if !as_ordered {
            return Ok(Some(format!("the meter's emergency limit is not {} W as ordered", limit.limit_w)));
        }
        let at_once = limit.from.is_none() && limit.until > now;
        Ok((at_once && !active).then(|| "the meter's emergency limit does not apply".to_owned()))
    }
}
