//! What the disk and SQLite could do at best: the rows that a vend leaves behind, written by nobody but this loop, so many
//! vends to a commit, and two commits to a vend. Every statement takes a vend's number and its meter. No looking first, no
//! keys, no tokens, no tasks.

use rusqlite::{Connection, Transaction, params};
use std::path::Path;
use std::time::Instant;

const BOOKED: [&str; 8] = [
    "INSERT INTO payment (id, channel, idempotency_key, request_digest, serial, amount_minor, billed_minor, change_minor, energy_wh,
                          state, correlation, at)
         VALUES (?1, 'shop', 'key-' || ?1, x'00000000', ?2, 1000, 1000, 0, 39400, 'recorded', 'bench-' || ?1, ?1)",
    "INSERT INTO posting (id, kind, payment_id, at) SELECT ?1, 'payment', ?1, ?1 WHERE ?2 IS NOT NULL",
    "INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) SELECT ?1, 'channel', 'shop', -1000, 0 WHERE ?2 IS NOT NULL",
    "INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (?1, 'change', ?2, 2, 0)",
    "INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (?1, 'on_the_way', ?2, 998, 0)",
    "INSERT INTO tid_reservation (serial, base_year, tid, payment_id, at) VALUES (?2, 2014, ?1, ?1, ?1)",
    "INSERT INTO audit (at, actor, action, subject, correlation) VALUES (?1, 'shop', 'top_up', ?2, 'bench-' || ?1)",
    "INSERT INTO event (at, kind, serial, detail)
         VALUES (?1, 'payment', ?2, '{\"amount_minor\":1000,\"energy_wh\":39400,\"payment_id\":1000,\"state\":\"recorded\"}')",
];
const MADE: [&str; 5] = [
    "INSERT INTO token (id, payment_id, serial, tid, tenths_kwh, sealed, at) VALUES (?1, ?1, ?2, ?1, 394, zeroblob(48), ?1)",
    "UPDATE payment SET state = 'on_the_way' WHERE id = ?1 AND serial = ?2",
    "INSERT INTO command (id, serial, kind, state, actor, correlation, token_id, at, updated_at)
         VALUES (?1, ?2, 'deliver_token', 'recorded', 'shop', 'bench-' || ?1, ?1, ?1, ?1)",
    "INSERT INTO command_event (command_id, state, at, evidence) SELECT ?1, 'recorded', ?1, '[]' WHERE ?2 IS NOT NULL",
    "INSERT INTO event (at, kind, serial, detail)
         VALUES (?1, 'command', ?2, '{\"command_id\":1000,\"kind\":\"deliver_token\",\"state\":\"recorded\"}')",
];

fn write(
    transaction: &Transaction<'_>,
    statements: &[&str],
    ids: &[u32],
    serials: &[String],
) -> rusqlite::Result<()> {
    for id in ids {
        let serial = &serials[*id as usize % serials.len()];
        for statement in statements {
            transaction.prepare_cached(statement)?.execute(params![id, serial])?;
        }
    }
    Ok(())
}

/// Writes so many vends to the meters of a store that has none yet, so many to a commit; vends per second.
pub fn measure(path: &Path, serials: &[String], vends: u32, group: u32) -> anyhow::Result<u128> {
    let mut conn = Connection::open(path)?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4096;")?;
    let began = Instant::now();
    let ids: Vec<u32> = (1..=vends).collect();
    for group in ids.chunks(group as usize) {
        for statements in [&BOOKED[..], &MADE[..]] {
            let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            write(&transaction, statements, group, serials)?;
            transaction.commit()?;
        }
    }
    Ok(u128::from(vends) * 1000 / began.elapsed().as_millis().max(1))
}
