//! Bringing a store's schema up to date. The migrations are written once, for SQLite; PostgreSQL gets them translated.
//!
//! The rules of the translation, each over whole words outside comments and quotes:
//! - `INTEGER PRIMARY KEY`, with or without `AUTOINCREMENT`, is an identity column of 64 bits; `INTEGER` is `BIGINT`;
//! - `BLOB` is `BYTEA`; `TEXT` is ordered by its bytes (`COLLATE "C"`), as SQLite orders it;
//! - options after a table's closing parenthesis (`STRICT`, `WITHOUT ROWID`) are left out;
//! - `CREATE TRIGGER` statements are left out: a migration that has any brings them in PostgreSQL's words, in [`TRIGGERS`].

use super::StoreError;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqliteConnection};
use std::borrow::Cow;

/// Every migration, in SQLite's words.
pub(super) static ALL: Migrator = sqlx::migrate!("./migrations");

/// What is said in PostgreSQL's words after the translation of the migration with that number.
const TRIGGERS: [(i64, &str); 1] = [(1, include_str!("postgres/0001_triggers.sql"))];

/// Identity columns go on above the highest number there is: a migration that copies rows writes theirs itself.
const CONTINUE_NUMBERS: &str = "
DO $$
DECLARE
    numbered record;
    series text;
    highest bigint;
    given bigint;
BEGIN
    FOR numbered IN SELECT table_name, column_name FROM information_schema.columns
                    WHERE table_schema = current_schema() AND is_identity = 'YES' LOOP
        series := pg_get_serial_sequence(quote_ident(numbered.table_name), numbered.column_name);
        EXECUTE format('SELECT MAX(%I) FROM %I', numbered.column_name, numbered.table_name) INTO highest;
        EXECUTE format('SELECT last_value FROM %s', series) INTO given;
        IF highest >= given THEN
            PERFORM setval(series, highest);
        END IF;
    END LOOP;
END $$";

/// Brings a file's schema up to date.
pub(super) async fn sqlite(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    Ok(ALL.run(conn).await?)
}

/// Brings a PostgreSQL database's schema up to date.
pub(super) async fn postgres(conn: &mut PgConnection) -> Result<(), StoreError> {
    for_postgres(ALL.migrations.len()).run(&mut *conn).await?;
    sqlx::raw_sql(CONTINUE_NUMBERS).execute(conn).await?;
    Ok(())
}

/// The first so many migrations, in SQLite's words.
#[cfg(test)]
pub(super) fn for_sqlite(count: usize) -> Migrator {
    Migrator { migrations: ALL.migrations.iter().take(count).cloned().collect(), ..Migrator::DEFAULT }
}

/// The first so many migrations, in PostgreSQL's words.
pub(super) fn for_postgres(count: usize) -> Migrator {
    let translated = |migration: &Migration| {
        let mut sql = translate(migration.sql.as_str());
        for (_, triggers) in TRIGGERS.iter().filter(|(version, _)| *version == migration.version) {
            sql.push_str(triggers);
        }
        // The check code stays that of the file: a better translation of a statement changes no released migration.
        Migration { sql: AssertSqlSafe(sql).into_sql_str(), ..migration.clone() }
    };
    let migrations: Cow<'static, [Migration]> = ALL.migrations.iter().take(count).map(translated).collect();
    Migrator { migrations, ..Migrator::DEFAULT }
}

/// The migration by the rules above.
fn translate(sql: &str) -> String {
    let mut out = String::new();
    for statement in statements(&without_comments(sql)) {
        let words: Vec<&str> = statement.split_whitespace().take(2).collect();
        let statement = match words.as_slice() {
            ["CREATE", "TRIGGER"] => continue,
            ["CREATE", "TABLE"] => statement.rfind(')').map_or(statement.as_str(), |end| &statement[..=end]),
            _ => &statement,
        };
        out.push_str(&translated(statement));
        out.push_str(";\n");
    }
    out
}

fn without_comments(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    for line in sql.lines() {
        let mut quoted = false;
        let comment = line.char_indices().find(|(at, c)| {
            quoted ^= *c == '\'';
            !quoted && line[*at..].starts_with("--")
        });
        out.push_str(comment.map_or(line, |(at, _)| &line[..at]));
        out.push('\n');
    }
    out
}

/// The statements of a text without comments. A semicolon between a trigger's `BEGIN` and `END` ends none.
fn statements(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut statement = String::new();
    let mut quoted = false;
    for c in sql.chars() {
        quoted ^= c == '\'';
        if c != ';' || quoted {
            statement.push(c);
            continue;
        }
        let words: Vec<&str> = statement.split_whitespace().collect();
        let in_trigger = words.starts_with(&["CREATE", "TRIGGER"]) && words.last() != Some(&"END");
        if in_trigger {
            statement.push(c);
        } else {
            found.push(std::mem::take(&mut statement));
        }
    }
    found.retain(|statement| !statement.trim().is_empty());
    found
}

fn translated(statement: &str) -> String {
    const IDENTITY: &str = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY";
    const RULES: [(&[&str], &str); 5] = [
        (&["INTEGER", "PRIMARY", "KEY", "AUTOINCREMENT"], IDENTITY),
        (&["INTEGER", "PRIMARY", "KEY"], IDENTITY),
        (&["INTEGER"], "BIGINT"),
        (&["BLOB"], "BYTEA"),
        (&["TEXT"], "TEXT COLLATE \"C\""),
    ];
    let words = words(statement);
    let mut out = String::new();
    let mut rest = words.as_slice();
    while let Some((first, after)) = rest.split_first() {
        match RULES.iter().find_map(|(from, to)| follows(rest, from).map(|after| (to, after))) {
            Some((to, after)) => {
                out.push_str(to);
                rest = after;
            }
            None => {
                out.push_str(first);
                rest = after;
            }
        }
    }
    out
}

/// What comes after these words, with spaces between them, if the text begins with them.
fn follows<'a, 't>(mut text: &'a [&'t str], words: &[&str]) -> Option<&'a [&'t str]> {
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            let (space, after) = text.split_first()?;
            if !space.chars().all(char::is_whitespace) {
                return None;
            }
            text = after;
        }
        let (first, after) = text.split_first()?;
        if first != word {
            return None;
        }
        text = after;
    }
    Some(text)
}

/// The text in pieces: words, quoted texts, white space, and everything else.
fn words(text: &str) -> Vec<&str> {
    let kind = |c: char| if c.is_whitespace() { 0 } else { 1 + u8::from(c.is_alphanumeric() || c == '_') };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if first == '\'' {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else {
            rest.find(|c| kind(c) != kind(first) || c == '\'').unwrap_or(rest.len())
        };
        let (piece, after) = rest.split_at(end.max(first.len_utf8()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn a_migration_is_translated_word_by_word() {
        let sql = "-- TEXT; it's a comment
CREATE TABLE a (
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- the key
    other INTEGER PRIMARY KEY,
    n     INTEGER NOT NULL DEFAULT 0,
    kind  TEXT NOT NULL CHECK (kind IN ('TEXT', 'a;b', 'BLOB -- x')),
    TEXTURE BLOB
) STRICT, WITHOUT ROWID;
CREATE TRIGGER t AFTER INSERT ON a BEGIN
    UPDATE a SET n = 1; DELETE FROM a;
END;
CREATE INDEX i ON a (n);";
        let wanted = "
CREATE TABLE a (
    id    BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, 
    other BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    n     BIGINT NOT NULL DEFAULT 0,
    kind  TEXT COLLATE \"C\" NOT NULL CHECK (kind IN ('TEXT', 'a;b', 'BLOB -- x')),
    TEXTURE BYTEA
);

CREATE INDEX i ON a (n);
";
        assert_eq!(translate(sql), wanted);
    }
}
