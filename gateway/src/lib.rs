//! The concentrator gateway.
//!
//! Layers, each importing only what is below it: `api`, `web` → decisions (`vending`, `commands`) → `store` (the only SQL) and
//! `session` → `driver`. Keys live behind `vault`. [`service`] puts the parts together.
//!
//! # Tasks
//! Every task of a running gateway, what it owns, what it waits on, and whom it tells:
//!
//! | task | owns | waits on | tells |
//! |---|---|---|---|
//! | store writer (`store::writer`; to a file, a thread) | the one writing connection | queued writes | each caller, after the commit; `Store::commits` |
//! | command engine (`commands::engine`) | commands that are not finished | commits, answers, people (`commands::desk`), meters that call, due times, stop | lines (jobs); the reader (meters commissioned) |
//! | answer of a job (one per job on a line) | its two one-shot channels | first byte, report | the engine |
//! | reader (`commands::reader`) | the read schedule | a tick, meters commissioned, meters that call, reads ended, stop | lines (jobs) |
//! | collector (`reading::collector`) | what is due and missing of every profile | a tick, meters commissioned, meters that call, attempts ended, stop | lines (jobs) |
//! | end of an attempt (one per profile read on a line) | its one-shot channel | report | the store; the collector |
//! | end of a read (one per read on a line) | its one-shot channel | report | the store; the reader |
//! | pacer (`commands::bulk`) | commands of bulk commands that are to be recorded | commits, its pace, stop | the store; the engine (a stop) |
//! | follow-up (`vending::follow_up`) | payments and meters that are to be tried later | commits, time, stop | the store |
//! | line (`session`, one per configured line) | its byte pipe and the protocol clients on it | jobs, bytes, deadlines | whoever gave the job |
//! | meter of a tcp line (`session::network`, one per meter) | its connection and association | jobs, bytes, deadlines, one of the line's places | whoever gave the job |
//! | calls (`driver::callers`, one per tcp-in line; one task per caller that is being greeted) | its socket, connections that nobody uses | callers, what they say, time | the line; the engine, the reader, the collector, the listener (arrivals) |
//! | introductions (`listen`) | nothing | arrivals, stop | the store |
//! | search (`reading::discovery`, one per line that is being searched) | its progress | answers to its question | lines (jobs) |
//! | hangups (`service`) | the file's name | SIGHUP, stop | lines, sinks, and what is in force (`service::reload`) |
//! | watchdog (`service::systemd`) | nothing | the store, the engine, time, stop | systemd |
//! | courier (`northbound`, one per configured sink) | its sink's connection, its place in the events | commits, acknowledgements, pauses, stop | the other side; the store |
//! | inbox (`northbound::inbox`, one per `[[inbox]]`, and one task that keeps them as configured) | its consumer at the server | messages, acknowledgements, the configuration, stop | the store; who sent the message |
//! | listener (`listen`, one per `[[listen]]`; one task per TCP peer) | its socket | peers, datagrams, stop | the store; who asked for a confirmation |
//! | keeper (`store::keeper`) | how far old history was looked through | time, stop | the store |
//! | HTTP (`service`) | the listening socket and its connections | requests, commits (event streams), stop | the store |
//!
//! Lines, couriers and inboxes are also started and stopped by a change of the configuration.
//!
//! A stop (SIGTERM, SIGINT) goes to engine, reader, collector, listeners, couriers, inboxes and HTTP; the engine lets what is on the wire finish, and what does not is
//! asked about after the next start.

pub mod api;
#[cfg(test)]
mod bench;
pub mod bulk;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod driver;
pub mod explain;
pub mod guards;
pub mod listen;
pub mod metrics;
pub mod northbound;
pub mod reading;
pub mod service;
pub mod session;
pub mod store;
pub mod units;
pub mod vault;
pub mod vending;
pub mod web;
