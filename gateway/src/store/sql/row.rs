//! Rows, read by a column's name or place.

use crate::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, TypeInfo, ValueRef};

/// One row of an answer.
#[derive(Debug)]
pub enum Row {
    /// Of SQLite.
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
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        Ok(match self {
            Self::Sqlite(row) => T::from_sqlite(row, column)?,
            Self::Postgres(row) => T::from_postgres(row, column)?,
        })
    }
}

/// What a column can be read as.
pub trait FromColumn<'r>: Sized {
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

impl FromColumn<'_> for i64 {
    fn from_sqlite(row: &SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<Self, sqlx::Error> {
        row.try_get(column)
    }

    fn from_postgres(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
        integer(row, column)?.ok_or_else(|| sqlx::Error::Decode("NULL where a number should be".into()))
    }
}

impl FromColumn<'_> for Option<i64> {
    fn from_sqlite(row: &SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<Self, sqlx::Error> {
        row.try_get(column)
    }

    fn from_postgres(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Self, sqlx::Error> {
        integer(row, column)
    }
}

macro_rules! as_sqlx_reads_it {
    ($($type:ty),+) => {
        $(
            impl<'r> FromColumn<'r> for $type {
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

as_sqlx_reads_it!(String, Option<String>, &'r str, Option<&'r str>, Vec<u8>, Option<Vec<u8>>);
