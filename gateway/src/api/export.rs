//! Export over a range of time, as CSV or JSON: streamed, so that a year costs no more memory than a day.

use super::App;
use super::access::{Caller, Scope};
use super::problem::{self, Params, Problem};
use crate::store::export::{Export, Table};
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// How it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A head line, then one line a row.
    #[default]
    Csv,
    /// One array of objects.
    Json,
}

/// Which part.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// From this time on; from the beginning where nothing is said.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this time; up to now where nothing is said.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// `csv` (default) or `json`.
    #[serde(default)]
    format: Format,
}

/// Where a stream is.
enum Place {
    Head,
    Rows { first: bool },
    End,
}

struct Writer {
    app: App,
    export: Export,
    table: Table,
    format: Format,
    place: Place,
}

impl Writer {
    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Option<Result<Vec<u8>, std::io::Error>> {
        match self.place {
            Place::Head => {
                self.place = Place::Rows { first: true };
                Some(Ok(match self.format {
                    Format::Csv => csv_line(self.table.columns().iter().map(|column| (*column).to_owned())),
                    Format::Json => b"[".to_vec(),
                }))
            }
            Place::Rows { first } => {
                let rows = match self.export.next(&self.app.store).await {
                    Ok(rows) => rows,
                    // The stream breaks off: whoever reads it sees that it is not whole.
                    Err(error) => {
                        self.place = Place::End;
                        return Some(Err(std::io::Error::other(error.to_string())));
                    }
                };
                if rows.is_empty() {
                    self.place = Place::End;
                    return (self.format == Format::Json).then(|| Ok(b"]\n".to_vec()));
                }
                self.place = Place::Rows { first: false };
                Some(Ok(self.page(rows, first)))
            }
            Place::End => None,
        }
    }

    fn page(&self, rows: Vec<Vec<Value>>, mut first: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            match self.format {
                Format::Csv => out.extend(csv_line(row.into_iter().map(cell))),
                Format::Json => {
                    out.extend(if first { b"\n".as_slice() } else { b",\n".as_slice() });
                    first = false;
                    let columns = self.table.columns().iter().map(|column| (*column).to_owned());
                    out.extend(
                        Value::Object(columns.zip(row).collect::<Map<_, _>>()).to_string().into_bytes(),
                    );
                }
            }
        }
        out
    }
}

/// A value in a CSV field: nothing for null, JSON for what has parts.
fn cell(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn csv_line(fields: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and one record has no length to differ from.
    let _ = writer.write_record(fields);
    writer.into_inner().unwrap_or_default()
}

/// Exports readings, payments, commands or events over a range of time, in the order in which they were written. Needs scope
/// read.
#[utoipa::path(get, path = "/api/v1/export/{table}", tag = "export", security(("bearer" = [])),
    params(("table" = String, Path, description = "readings, payments, commands or events"), Range),
    responses((status = 200, content_type = "text/csv", body = String), (status = "4XX", body = problem::Problem)))]
pub(super) async fn export(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(table): Path<String>,
    Params(range): Params<Range>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Read)?;
    let table = Table::parse(&table).ok_or_else(|| {
        let words: Vec<&str> = Table::ALL.iter().map(|table| table.as_str()).collect();
        Problem::not_found(format!("{table:?} is none of {}", words.join(", ")))
    })?;
    let from = range.from.unwrap_or(Timestamp::UNIX_EPOCH);
    let until = range.until.unwrap_or_else(|| app.clock.now());
    let export = app.store.export(table, from, until).await?;
    let (format, kind) = match range.format {
        Format::Csv => (Format::Csv, "text/csv; charset=utf-8"),
        Format::Json => (Format::Json, "application/json"),
    };
    let writer = Writer { app, export, table, format, place: Place::Head };
    let body = stream::unfold(writer, async |mut writer| {
        let piece = writer.next().await?;
        Some((piece, writer))
    });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response())
}
