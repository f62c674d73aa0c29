//! `[store]`: a file, or a database of a PostgreSQL server.

use super::raw::Checker;
use super::{ConfigError, Surroundings};
use crate::store::{Place, Server};
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
