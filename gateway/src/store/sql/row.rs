//! Rows, read by a column's name or place.

use crate::store::StoreError;
use rusqlite::types::Value as Stored;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, TypeInfo, ValueRef};
use std::sync::Arc;

/// One row of an answer.
#[derive(Debug)]
pub enum Row {
    /// Of SQLite, from the connection that writes.
    File(FileRow),
    /// Of SQLite, from one that reads.
    Sqlite(SqliteRow),
    /// Of PostgreSQL.
    Postgres(PgRow),
}

impl Row {
    /// A column's value.
    ///
    /// # Errors
    /// When there is no such column or its value is of another type.
    pub fn try_get<'r, T, I>(&'r self, column: I) -> Result<T, StoreError>
    where
        T: FromColumn<'r>,
        I: Column,
    {
        Ok(match self {
            Self::File(row) => T::from_file(row.value(&column)?)?,
            Self::Sqlite(row) => T::from_sqlite(row, column)?,
            Self::Postgres(row) => T::from_postgres(row, column)?,
        })
    }
}

/// One row of an answer, all its values with it.
#[derive(Debug)]
pub struct FileRow {
    /// The names of its columns.
    pub columns: Arc<[String]>,
    /// As many values.
    pub values: Vec<Stored>,
}

impl FileRow {
    fn value(&self, column: &impl Column) -> Result<&Stored, sqlx::Error> {
        let place = column.place(&self.columns);
        place.and_then(|place| self.values.get(place)).ok_or_else(|| column.missing())
    }
}

/// A column's name, or its place from 0.
pub trait Column: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {
    /// Its place.
    fn place(&self, columns: &[String]) -> Option<usize>;

    /// There is no such column.
    fn missing(&self) -> sqlx::Error;
}

impl Column for &str {
    fn place(&self, columns: &[String]) -> Option<usize> {
        columns.iter().position(|column| column == self)
    }

    fn missing(&self) -> sqlx::Error {
        sqlx::Error::ColumnNotFound((*self).to_owned())
    }
}

impl Column for usize {
    fn place(&self, _columns: &[String]) -> Option<usize> {
        Some(*self)
    }

    fn missing(&self) -> sqlx::Error {
        sqlx::Error::ColumnNotFound(self.to_string())
    }
}

/// What a column can be read as.
pub trait FromColumn<'r>: Sized {
    /// From a value of the connection that writes to a file.
    ///
    /// # Errors
    /// When it is of another type.
    fn from_file(value: &'r Stored) -> Result<Self, sqlx::Error>;

    /// From a row of SQLite.
    ///
    /// # Errors
    /// When there is no such column or its value is of another type.
    fn from_sqlite(row: &'r SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<Self, sqlx::Error>;

    /// From a row of PostgreSQL.
    ///
    /// # Errors
    /// When there is no such column or its value is of another type.
    fn from_postgres(row: &'r PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error>;
}

/// PostgreSQL's types that read as a 64-bit integer: truth values are integers in this store.
const INTEGERS: [&str; 4] = ["INT8", "INT4", "INT2", "BOOL"];

/// An integer of whatever width.
fn integer(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Option<i64>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    let name = value.type_info().name().to_owned();
    if value.is_null() {
        return Ok(None);
    }
    if !INTEGERS.contains(&name.as_str()) {
        return Err(sqlx::Error::Decode(format!("{name} is no integer").into()));
    }
    if name == "BOOL" {
        let truth = <bool as Decode<Postgres>>::decode(value).map_err(sqlx::Error::Decode)?;
        return Ok(Some(i64::from(truth)));
    }
    <i64 as Decode<Postgres>>::decode(value).map(Some).map_err(sqlx::Error::Decode)
}

fn another_type(value: &Stored) -> sqlx::Error {
    sqlx::Error::Decode(format!("a value of type {:?} where another should be", value.data_type()).into())
}

impl FromColumn<'_> for i64 {
    fn from_file(value: &Stored) -> Result<Self, sqlx::Error> {
        match value {
            Stored::Integer(integer) => Ok(*integer),
            other => Err(another_type(other)),
        }
    }

    fn from_sqlite(row: &SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<Self, sqlx::Error> {
        row.try_get(column)
    }

    fn from_postgres(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
        integer(row, column)?.ok_or_else(|| sqlx::Error::Decode("NULL where a number should be".into()))
    }
}

impl FromColumn<'_> for Option<i64> {
    fn from_file(value: &Stored) -> Result<Self, sqlx::Error> {
        optional(value)
    }

    fn from_sqlite(row: &SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<Self, sqlx::Error> {
        row.try_get(column)
    }

    fn from_postgres(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
        integer(row, column)
    }
}

/// A value that may be NULL.
fn optional<'r, T: FromColumn<'r>>(value: &'r Stored) -> Result<Option<T>, sqlx::Error> {
    match value {
        Stored::Null => Ok(None),
        value => T::from_file(value).map(Some),
    }
}

macro_rules! as_sqlx_reads_it {
    ($($type:ty: $($variant:ident $stored:ident => $made:expr),+;)+) => {
        $(
            impl<'r> FromColumn<'r> for $type {
                fn from_file(value: &'r Stored) -> Result<Self, sqlx::Error> {
                    match value {
                        $(Stored::$variant($stored) => Ok($made),)+
                        other => Err(another_type(other)),
                    }
                }

                fn from_sqlite(
                    row: &'r SqliteRow,
                    column: impl ColumnIndex<SqliteRow>,
                ) -> Result<Self, sqlx::Error> {
                    row.try_get(column)
                }

                fn from_postgres(row: &'r PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
                    row.try_get(column)
                }
            }

            impl<'r> FromColumn<'r> for Option<$type> {
                fn from_file(value: &'r Stored) -> Result<Self, sqlx::Error> {
                    optional(value)
                }

                fn from_sqlite(
                    row: &'r SqliteRow,
                    column: impl ColumnIndex<SqliteRow>,
                ) -> Result<Self, sqlx::Error> {
                    row.try_get(column)
                }

                fn from_postgres(row: &'r PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
                    row.try_get(column)
                }
            }
        )+
    };
}

as_sqlx_reads_it! {
    String: Text text => text.clone();
    &'r str: Text text => text.as_str();
    Vec<u8>: Blob bytes => bytes.clone(), Text text => text.clone().into_bytes();
}
