//! One way to say SQL to SQLite and to PostgreSQL, in the shape of sqlx's own functions.
//!
//! Statements are written once, in the SQL that both understand, with `?` or `?1` for values. Values are 64-bit integers,
//! text and bytes, each possibly NULL; truth values are the integers 0 and 1.

mod file;
mod row;
mod value;

pub(super) use file::{BUSY_PATIENCE, File, PREPARED_MAX};
pub use row::{FileRow, FromColumn, Row};
pub use value::{IntoValue, Value};

use super::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Sqlite, SqliteConnection};
use std::marker::PhantomData;

/// A connection to either database.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    /// Statements that nobody waits for: they run, in order, with the next one that somebody does wait for.
    queued: Vec<Query>,
    /// The highest number given in each table that is numbered here.
    numbers: [Option<i64>; Numbered::ALL.len()],
    /// Whether the savepoint of the write under way is still among the queued statements.
    savepoint_queued: bool,
    history: bool,
}

/// Tables whose rows are numbered by the one who writes them, so that what refers to a row can be written with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbered {
    Payment,
    Posting,
    Token,
    Command,
}

impl Numbered {
    const ALL: [Self; 4] = [Self::Payment, Self::Posting, Self::Token, Self::Command];

    const fn highest(self) -> &'static str {
        match self {
            Self::Payment => "SELECT COALESCE(MAX(id), 0) FROM payment",
            Self::Posting => "SELECT COALESCE(MAX(id), 0) FROM posting",
            Self::Token => "SELECT COALESCE(MAX(id), 0) FROM token",
            Self::Command => "SELECT COALESCE(MAX(id), 0) FROM command",
        }
    }
}

#[derive(Debug)]
enum Link {
    File(File),
    SqliteOfPool(PoolConnection<Sqlite>),
    Postgres(PgConnection),
    PostgresOfPool(PoolConnection<Postgres>),
}

/// A link of either kind, whoever owns it.
enum Wire<'c> {
    File(&'c mut File),
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Connection {
    fn wire(&mut self) -> Wire<'_> {
        match &mut self.link {
            Link::File(file) => Wire::File(file),
            Link::SqliteOfPool(conn) => Wire::Sqlite(conn),
            Link::Postgres(conn) => Wire::Postgres(conn),
            Link::PostgresOfPool(conn) => Wire::Postgres(conn),
        }
    }

    /// Whether history is to be stored: readings and the like, which a full disk costs first (`super::keeper`).
    #[must_use]
    pub fn stores_history(&self) -> bool {
        self.history
    }

    pub(super) fn set_stores_history(&mut self, history: bool) {
        self.history = history;
    }

    /// The next number in a table. Nothing else numbers its rows, and none is ever removed.
    pub(super) async fn next_number(&mut self, table: Numbered) -> Result<i64, StoreError> {
        let place = table as usize;
        let last = match self.numbers[place] {
            Some(last) => last,
            None => query_scalar(table.highest()).fetch_one(&mut *self).await?,
        };
        self.numbers[place] = Some(last + 1);
        Ok(last + 1)
    }

    /// Begins one write of a group: it stands or falls alone.
    pub(super) fn set_savepoint(&mut self) {
        match &mut self.link {
            Link::File(file) => file.set_mark(),
            _ => {
                self.savepoint_queued = true;
                query("SAVEPOINT one").later(self);
            }
        }
    }

    /// Ends one write of a group, after all that it queued.
    pub(super) async fn release_savepoint(&mut self) -> Result<(), StoreError> {
        if !matches!(self.link, Link::File(_)) {
            query("RELEASE one").later(self);
        }
        self.flush().await
    }

    /// Nothing that is queued will run.
    pub(super) fn forget_queued(&mut self) {
        self.queued.clear();
        self.savepoint_queued = false;
    }

    /// Takes one write of a group back.
    pub(super) async fn undo_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.queued.clear();
        // Whatever went wrong may have been a number that somebody else gave.
        self.numbers = [None; Numbered::ALL.len()];
        if let Link::File(file) = &mut self.link {
            return file.undo_to_mark();
        }
        if std::mem::take(&mut self.savepoint_queued) {
            return Ok(());
        }
        query("ROLLBACK TO one").execute(&mut *self).await?;
        query("RELEASE one").execute(self).await.map(drop)
    }

    /// Runs what is queued.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let queued = std::mem::take(&mut self.queued);
        self.savepoint_queued = false;
        for Query { text, values } in queued {
            match self.wire() {
                Wire::File(file) => {
                    file.execute(text, values)?;
                }
                Wire::Sqlite(conn) => {
                    sqlite(text, values).execute(conn).await?;
                }
                Wire::Postgres(conn) => {
                    postgres(text, values).execute(conn).await?;
                }
            }
        }
        Ok(())
    }

    /// Begins the transaction of a group of writes.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let begin = match self.wire() {
            Wire::File(file) => return file.begin(),
            Wire::Sqlite(_) => file::BEGIN,
            Wire::Postgres(_) => "BEGIN",
        };
        query(begin).execute(self).await.map(drop)
    }
}

impl From<Link> for Connection {
    fn from(link: Link) -> Self {
        Self {
            link,
            queued: Vec::new(),
            numbers: [None; Numbered::ALL.len()],
            savepoint_queued: false,
            history: true,
        }
    }
}

impl From<File> for Connection {
    fn from(file: File) -> Self {
        Link::File(file).into()
    }
}

impl From<PgConnection> for Connection {
    fn from(conn: PgConnection) -> Self {
        Link::Postgres(conn).into()
    }
}

/// Connections that read.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl From<SqlitePool> for Pool {
    fn from(pool: SqlitePool) -> Self {
        Self::Sqlite(pool)
    }
}

impl From<PgPool> for Pool {
    fn from(pool: PgPool) -> Self {
        Self::Postgres(pool)
    }
}

impl Pool {
    /// One of the connections, for several reads.
    pub async fn acquire(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite(pool) => Link::SqliteOfPool(pool.acquire().await?).into(),
            Self::Postgres(pool) => Link::PostgresOfPool(pool.acquire().await?).into(),
        })
    }
}

/// What a statement runs on.
#[derive(Debug)]
pub(super) enum Executor<'c> {
    Connection(&'c mut Connection),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Connection> for Executor<'c> {
    fn from(conn: &'c mut Connection) -> Self {
        Self::Connection(conn)
    }
}

impl<'c> From<&'c Pool> for Executor<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    rows_affected: u64,
}

impl Done {
    /// Rows that were inserted, changed or deleted.
    #[must_use]
    pub fn rows_affected(self) -> u64 {
        self.rows_affected
    }
}

/// One statement and the values bound to it.
#[derive(Debug)]
#[must_use = "a statement does nothing until it is executed"]
pub struct Query {
    text: &'static str,
    values: Vec<Value>,
}

/// A statement. Its placeholders are `?`, taking the values in the order they are bound, or `?1`, `?2` and so on.
pub fn query(text: &'static str) -> Query {
    // Most statements have fewer values than eight.
    Query { text, values: Vec::with_capacity(8) }
}

/// Several statements without values, separated by semicolons.
///
/// # Errors
/// The first that fails; those after it are not done.
pub async fn script(text: &str, conn: &mut Connection) -> Result<(), StoreError> {
    conn.flush().await?;
    let script = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
    match conn.wire() {
        Wire::File(file) => file.script(text)?,
        Wire::Sqlite(conn) => script.execute(conn).await.map(drop)?,
        Wire::Postgres(conn) => script.execute(conn).await.map(drop)?,
    }
    Ok(())
}

/// Runs one method of sqlx's query on whatever kind of database the executor is of, and makes its result ours.
macro_rules! on {
    ($query:expr, $executor:expr, $method:ident, $made:expr, $sqlite:expr, $postgres:expr) => {{
        let Query { text, values } = $query;
        match $executor.into() {
            Executor::Pool(Pool::Sqlite(pool)) => {
                sqlite(text, values).$method(pool).await.map($sqlite).map($made).map_err(StoreError::from)
            }
            Executor::Pool(Pool::Postgres(pool)) => {
                postgres(text, values).$method(pool).await.map($postgres).map($made).map_err(StoreError::from)
            }
            Executor::Connection(conn) => {
                conn.flush().await?;
                match conn.wire() {
                    Wire::File(file) => file.$method(text, values).map($made),
                    Wire::Sqlite(conn) => sqlite(text, values)
                        .$method(conn)
                        .await
                        .map($sqlite)
                        .map($made)
                        .map_err(StoreError::from),
                    Wire::Postgres(conn) => postgres(text, values)
                        .$method(conn)
                        .await
                        .map($postgres)
                        .map($made)
                        .map_err(StoreError::from),
                }
            }
        }
    }};
}

impl Query {
    /// Binds the next value.
    pub fn bind(mut self, value: impl IntoValue) -> Self {
        self.values.push(value.into_value());
        self
    }

    /// Runs it before the next statement that is waited for, at the latest when the write ends. For what changes something
    /// and has no answer that matters; when it fails, so does the whole write.
    pub(super) fn later(self, conn: &mut Connection) {
        conn.queued.push(self);
    }

    /// Runs it for what it changes.
    pub(super) async fn execute<'c>(self, on: impl Into<Executor<'c>>) -> Result<Done, StoreError> {
        let made = |rows_affected| Done { rows_affected };
        on!(self, on, execute, made, |done| done.rows_affected(), |done| done.rows_affected())
    }

    /// The row it gives.
    pub(super) async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> Result<Row, StoreError> {
        let made = |row| row;
        on!(self, on, fetch_one, made, Row::Sqlite, Row::Postgres)
    }

    /// The row it gives, if there is one.
    pub(super) async fn fetch_optional<'c>(
        self,
        on: impl Into<Executor<'c>>,
    ) -> Result<Option<Row>, StoreError> {
        let made = |row| row;
        on!(self, on, fetch_optional, made, |row| row.map(Row::Sqlite), |row| row.map(Row::Postgres))
    }

    /// All the rows it gives.
    pub(super) async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> Result<Vec<Row>, StoreError> {
        let made = |rows: Vec<Row>| rows;
        on!(self, on, fetch_all, made, |rows| rows.into_iter().map(Row::Sqlite).collect(), |rows| rows
            .into_iter()
            .map(Row::Postgres)
            .collect())
    }
}

/// A statement whose rows have one column that matters, the first.
#[derive(Debug)]
#[must_use = "a statement does nothing until it is executed"]
pub struct Scalar<T> {
    query: Query,
    column: PhantomData<fn() -> T>,
}

/// A statement whose rows have one column that matters, the first.
pub fn query_scalar<T>(text: &'static str) -> Scalar<T> {
    Scalar { query: query(text), column: PhantomData }
}

impl<T: for<'r> FromColumn<'r>> Scalar<T> {
    /// Binds the next value.
    pub fn bind(mut self, value: impl IntoValue) -> Self {
        self.query = self.query.bind(value);
        self
    }

    /// The value of the row it gives.
    pub(super) async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> Result<T, StoreError> {
        self.query.fetch_one(on).await?.try_get(0)
    }

    /// The value of the row it gives, if there is one.
    pub(super) async fn fetch_optional<'c>(
        self,
        on: impl Into<Executor<'c>>,
    ) -> Result<Option<T>, StoreError> {
        self.query.fetch_optional(on).await?.map(|row| row.try_get(0)).transpose()
    }

    /// The values of all rows it gives.
    pub(super) async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> Result<Vec<T>, StoreError> {
        self.query.fetch_all(on).await?.iter().map(|row| row.try_get(0)).collect()
    }
}

fn sqlite(text: &'static str, values: Vec<Value>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Integer(integer) => query.bind(integer),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn postgres(text: &'static str, values: Vec<Value>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let text = AssertSqlSafe(numbered(text));
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Integer(integer) => query.bind(integer),
        // PostgreSQL's text has no place for a NUL; what a meter says may have one.
        Value::Text(text) => query.bind(text.map(|text| text.replace('\0', "\u{FFFD}"))),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// The text with PostgreSQL's placeholders: `?2` becomes `$2`, and a bare `?` the next number. What stands between quotes is left
/// alone.
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut bare = 0u32;
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        quoted ^= c == '\'';
        if quoted || c != '?' {
            out.push(c);
            continue;
        }
        out.push('$');
        if !chars.peek().is_some_and(char::is_ascii_digit) {
            bare += 1;
            out.push_str(&bare.to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn placeholders_become_those_of_postgresql_and_quoted_text_stays() {
        assert_eq!(numbered("a = ?1 OR b = ?12 OR c = ?1"), "a = $1 OR b = $12 OR c = $1");
        assert_eq!(numbered("VALUES (?, ?, 'what?', ?)"), "VALUES ($1, $2, 'what?', $3)");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }
}
