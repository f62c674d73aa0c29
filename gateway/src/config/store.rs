//! `[store]`: a file, or a database of a PostgreSQL server.

use super::raw::Checker;
use super::{ConfigError, Surroundings};
use crate::store::keeper::Keep;
use crate::store::{Place, Server};
use jiff::SignedDuration;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    #[serde(default)]
    path: Option<PathBuf>,
    #[serde(default)]
    url: Option<Spanned<String>>,
    #[serde(default)]
    password_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    password_env: Option<Spanned<String>>,
    #[serde(default)]
    size_max_mib: Option<Spanned<u32>>,
    #[serde(default = "free_min_mib")]
    free_min_mib: Spanned<u32>,
    #[serde(default = "three_years")]
    keep_readings_days: Spanned<u32>,
    #[serde(default = "a_quarter")]
    keep_events_days: Spanned<u32>,
    #[serde(default = "three_years")]
    keep_command_steps_days: Spanned<u32>,
}

/// Payments of about 2 KiB each: room for more than a hundred thousand.
fn free_min_mib() -> Spanned<u32> {
    Spanned::new(0..0, 256)
}

fn three_years() -> Spanned<u32> {
    Spanned::new(0..0, 1_096)
}

fn a_quarter() -> Spanned<u32> {
    Spanned::new(0..0, 92)
}

pub(super) fn keep<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &Spanned<RawStore>,
) -> Result<Keep, ConfigError> {
    const MIB: u64 = 1 << 20;
    let store = raw.get_ref();
    let days = |raw: &Spanned<u32>| match *raw.get_ref() {
        0 => Err(checker.at(&raw.span(), "history is kept for at least a day")),
        days => Ok(SignedDuration::from_hours(24 * i64::from(days))),
    };
    let free_min = u64::from(*store.free_min_mib.get_ref()) * MIB;
    let size_max = store.size_max_mib.as_ref().map(|size| u64::from(*size.get_ref()) * MIB);
    if let (Some(raw), Some(size)) = (&store.size_max_mib, size_max)
        && size < free_min * 2
    {
        return Err(checker.at(&raw.span(), "size_max_mib must be at least twice free_min_mib"));
    }
    Ok(Keep {
        readings: days(&store.keep_readings_days)?,
        events: days(&store.keep_events_days)?,
        command_steps: days(&store.keep_command_steps_days)?,
        free_min,
        size_max,
    })
}

pub(super) fn place<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &Spanned<RawStore>,
) -> Result<Place, ConfigError> {
    let store = raw.get_ref();
    let password = (store.password_file.as_ref(), store.password_env.as_ref());
    match (&store.path, &store.url) {
        (Some(path), None) if password == (None, None) => Ok(Place::File(checker.beside(path))),
        (Some(_), None) => Err(checker.at(&raw.span(), "a password belongs to a url; a file has none")),
        (None, Some(url)) => {
            let password = match password {
                (None, None) => None,
                keys => {
                    let owner = ("the store".to_owned(), url.span());
                    Some(checker.secret_text(("password_file", "password_env"), keys, owner)?)
                }
            };
            let server = Server::new(url.get_ref(), password.as_deref());
            server.map(Place::Server).map_err(|message| checker.at(&url.span(), message))
        }
        _ => Err(checker.at(&raw.span(), "the store needs exactly one of path and url")),
    }
}
