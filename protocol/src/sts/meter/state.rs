//! What a meter remembers to judge tokens.

use super::super::attributes::{KeyAttributes, KeyRevision, KeyType, SupplyGroup, TariffIndex};
use super::super::identity::MeterPan;
use super::super::key::DecoderKey;
use super::super::key_section::PartialKey;
use super::super::tid::{BaseDate, Tid};
use super::effect::Effect;
use super::tid_store::{TID_STORE_DEPTH, TidStore};

/// A key change whose parts do not all arrive is forgotten ten minutes after the last part (practice of a published
/// meter manual).
pub const KEY_CHANGE_TIMEOUT_MS: u64 = 10 * 60 * 1_000;

/// What the meter knows about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MeterKeyAttributes {
    /// Supply group; unknown after a key change with two tokens.
    pub supply_group: Option<SupplyGroup>,
    /// Tariff index.
    pub tariff_index: TariffIndex,
    /// Key revision.
    pub key_revision: KeyRevision,
    /// Key type.
    pub key_type: KeyType,
    /// Base date of the identifiers. A key change with RO = 1 moves it on to the next one.
    pub base_date: BaseDate,
    /// Expiry number; 255 is never.
    pub expiry: u8,
}

impl From<KeyAttributes> for MeterKeyAttributes {
    fn from(attributes: KeyAttributes) -> Self {
        Self {
            supply_group: Some(attributes.supply_group),
            tariff_index: attributes.tariff_index,
            key_revision: attributes.key_revision,
            key_type: attributes.key_type,
            base_date: attributes.base_date,
            expiry: u8::MAX,
        }
    }
}

/// Parts of a key change that wait for the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PendingKeyChange {
    pub(super) sections: PartialKey,
    pub(super) last_ms: u64,
}

impl PendingKeyChange {
    /// The parts held at `now_ms`: none once the time-out has passed.
    #[must_use]
    pub fn held(&self, now_ms: u64) -> usize {
        if self.expired(now_ms) { 0 } else { self.sections.count() }
    }

    pub(super) const fn expired(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) >= KEY_CHANGE_TIMEOUT_MS
    }
}

/// Everything a meter needs to judge tokens. Serialises, key included, into the meter's own journal; `Debug` shows no key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MeterTokenState {
    /// Who the meter is. Tokens do not carry it; the key was derived from it.
    pub pan: MeterPan,
    /// The current decoder key.
    pub key: DecoderKey,
    /// What is known about it.
    pub attributes: MeterKeyAttributes,
    /// Identifiers of tokens accepted.
    pub tids: TidStore<TID_STORE_DEPTH>,
    /// Parts of a key change.
    pub pending: PendingKeyChange,
}

impl MeterTokenState {
    /// A meter as it leaves the factory. Tokens issued before `manufactured` are refused as old.
    #[must_use]
    pub fn new(
        pan: MeterPan,
        key: DecoderKey,
        attributes: MeterKeyAttributes,
        manufactured: Option<Tid>,
    ) -> Self {
        Self { pan, key, attributes, tids: TidStore::new(manufactured), pending: PendingKeyChange::default() }
    }

    /// Makes the change of an accepted token, after it was stored. Credit itself is the firmware's.
    pub fn apply(&mut self, effect: &Effect) {
        if let Some(tid) = effect.tid() {
            self.tids.remember(tid);
        }
        match effect {
            Effect::KeySection { section, at_ms } => {
                if self.pending.expired(*at_ms) {
                    self.pending.sections = PartialKey::default();
                }
                self.pending.sections.insert(section.clone());
                self.pending.last_ms = *at_ms;
            }
            Effect::NewKey(new) => {
                self.key = new.key.clone();
                let base_date = self.attributes.base_date;
                self.attributes = MeterKeyAttributes {
                    supply_group: new.supply_group,
                    tariff_index: new.tariff_index,
                    key_revision: new.key_revision,
                    key_type: new.key_type,
                    base_date: if new.rollover {
                        base_date.following().unwrap_or(base_date)
                    } else {
                        base_date
                    },
                    expiry: new.expiry,
                };
                if new.rollover {
                    self.tids.clear();
                }
                self.pending = PendingKeyChange::default();
            }
            _ => {}
        }
    }
}
