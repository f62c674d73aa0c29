//! What can be done to a meter's memory while it has no power: by a technician's laptop, by age, by somebody who should not.

use crate::nvm::Nvm;
use firmware::Layout;
use firmware::counters::{COUNTER_PLACE_BYTES, Counters, PEERS_MAX};
use firmware::journal::{Journal, PLACE_BYTES};
use firmware::record::Record;
use hardware::board::Storage;
use protocol::cosem::account::PaymentMode;

/// Length of a row of the load profile.
const ROW_BYTES: u32 = Layout::bytes_for(2) - Layout::bytes_for(1);

/// Changes the stored state. False when there is none that can be read.
fn edit(nvm: &mut Nvm, change: impl FnOnce(&mut Record)) -> bool {
    nvm.restore_power();
    let Ok((mut journal, Some(mut record))) =
        Journal::<Record, PLACE_BYTES>::recover(nvm, 0, Layout::STATE_PLACES)
    else {
        return false;
    };
    change(&mut record);
    journal.write(nvm, &record).is_ok()
}

/// The stored state, if it can be read.
pub fn record(nvm: &mut Nvm) -> Option<Record> {
    Journal::<Record, PLACE_BYTES>::recover(nvm, 0, Layout::STATE_PLACES).ok()?.1
}

/// The account pays afterwards from now on. No log and no counter knows.
pub fn switch_to_postpaid(nvm: &mut Nvm) -> bool {
    edit(nvm, |record| record.payment_mode = PaymentMode::Credit)
}

/// Strangers with the meter's keys used invocation counters up to `ahead` beyond the highest so far, more of them than the
/// meter remembers one by one, so that the same is asked of everybody.
pub fn use_up_counters(nvm: &mut Nvm, ahead: u32) -> bool {
    nvm.restore_power();
    let Ok(layout) = Layout::for_capacity(nvm.capacity()) else { return false };
    let Ok((mut journal, stored)) =
        Journal::<Counters, COUNTER_PLACE_BYTES>::recover(nvm, layout.counters_base, Layout::COUNTER_PLACES)
    else {
        return false;
    };
    let mut counters = stored.unwrap_or_default();
    let counter = counters.highest().saturating_add(ahead);
    for stranger in 0..2 * PEERS_MAX as u8 {
        counters.accept([b'S', b'T', b'R', 0, 0, 0, 0, stranger], counter);
    }
    journal.write(nvm, &counters).is_ok()
}

/// The newest rows of the first load profile are lost.
pub fn lose_rows(nvm: &mut Nvm, rows: u32) -> bool {
    let Ok(layout) = Layout::for_capacity(nvm.capacity()) else { return false };
    let mut lost = 0..0;
    let done = edit(nvm, |record| {
        let span = &mut record.profile.rows;
        let next = span.next;
        span.next = next.saturating_sub(rows).max(span.first);
        lost = span.next..next;
    });
    let blank = [0xFF; ROW_BYTES as usize];
    done && lost.into_iter().all(|number| {
        let at = layout.profile_base + number % layout.profile_rows * ROW_BYTES;
        nvm.write(at, &blank).is_ok()
    })
}

/// The first load profile has room for `rows` rows only: the newest of them stay. The second one begins anew. Gives the
/// capacity that is left.
pub fn wrap_profile(nvm: &mut Nvm, rows: u32) -> Option<u32> {
    nvm.restore_power();
    let layout = Layout::for_capacity(nvm.capacity()).ok()?;
    let span = record(nvm)?.profile.rows;
    let rows = rows.clamp(1, layout.profile_rows);
    let kept = span.next.saturating_sub(rows).max(span.first)..span.next;
    let place = |number: u32, of: u32| layout.profile_base + number % of * ROW_BYTES;
    let mut copies = Vec::with_capacity(kept.len());
    for number in kept {
        let mut row = [0; ROW_BYTES as usize];
        nvm.read(place(number, layout.profile_rows), &mut row).ok()?;
        copies.push((number, row));
    }
    for (number, row) in copies {
        nvm.write(place(number, rows), &row).ok()?;
    }
    let capacity = Layout::bytes_for(rows);
    nvm.shrink(capacity);
    Some(capacity)
}
