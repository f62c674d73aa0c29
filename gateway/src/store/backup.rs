//! A copy of the store while the gateway runs, and a store made from such a copy.

use super::{StoreError, migrate};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::path::Path;

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Sql(format!("{}: {error}", path.display()))
}

async fn open(path: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(SqliteConnectOptions::new().filename(path).disable_statement_logging().connect().await?)
}

/// Checks every page, index and constraint of a store's file.
///
/// # Errors
/// [`StoreError::Corrupt`] with the first thing that is wrong.
pub async fn check(path: &Path) -> Result<(), StoreError> {
    let mut conn = open(path).await?;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut conn).await?;
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut conn).await?.len();
    conn.close().await?;
    match (verdict.as_str(), orphans) {
        ("ok", 0) => Ok(()),
        ("ok", orphans) => {
            Err(StoreError::Corrupt(format!("{}: {orphans} rows refer to nothing", path.display())))
        }
        (verdict, _) => Err(StoreError::Corrupt(format!("{}: {verdict}", path.display()))),
    }
}

/// Copies the store at `from` into a new file, as it was at one moment, whoever writes to it meanwhile, and checks the copy.
///
/// # Errors
/// When there is a file already, the store cannot be read, or the copy is not sound.
pub async fn back_up(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Sql(format!("{} exists already", to.display())));
    }
    if !from.exists() {
        return Err(StoreError::Sql(format!("there is no store at {}", from.display())));
    }
    let target = to.to_str().ok_or_else(|| StoreError::Sql(format!("{} is no text", to.display())))?;
    let mut conn = open(from).await?;
    sqlx::query("VACUUM INTO ?1").bind(target).execute(&mut conn).await?;
    conn.close().await?;
    std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(|error| io(to, &error))?;
    check(to).await
}

/// Makes a store of a copy, under a new system title: invocation counters that were used after the copy was made are
/// forgotten, and none may be used twice with one key and title. Brings its schema up to date.
///
/// # Errors
/// When there is a store already, or the copy is not sound.
pub async fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Sql(format!("there is a store at {} already: move it away", to.display())));
    }
    check(from).await?;
    let beside = to.with_extension("restoring");
    std::fs::copy(from, &beside).map_err(|error| io(&beside, &error))?;
    // Without a write-ahead log: the file that is renamed has to be whole.
    let options = SqliteConnectOptions::new().filename(&beside).journal_mode(SqliteJournalMode::Delete);
    let mut conn = options.disable_statement_logging().connect().await?;
    migrate::sqlite(&mut conn).await?;
    // The next start makes a new title.
    sqlx::raw_sql("DELETE FROM counter_block; DELETE FROM gateway;").execute(&mut conn).await?;
    conn.close().await?;
    std::fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(|error| io(&beside, &error))?;
    std::fs::rename(&beside, to).map_err(|error| io(to, &error))?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|file| file.sync_all()).map_err(|error| io(directory, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::counters::Counters;
    use crate::session::work::Serial;
    use crate::store::Store;
    use crate::store::tests::{add, fresh_file, meter};

    #[tokio::test]
    async fn a_copy_made_while_the_store_is_written_opens_as_a_store_of_its_own() {
        let fresh = fresh_file().await;
        add(&fresh.store, meter("01000000016", "a")).await.unwrap();
        let serial = Serial("01000000016".into());
        assert_eq!(fresh.store.reserve(&serial, 18, 1, 100).await.unwrap(), 1..101);
        let title = fresh.store.system_title().await.unwrap();
        let (from, copy, to) =
            (fresh.dir.join("store.db"), fresh.dir.join("copy.db"), fresh.dir.join("restored.db"));
        let writes = async {
            for i in 0..50 {
                add(&fresh.store, meter(&format!("later-{i}"), &i.to_string())).await.unwrap();
            }
        };
        let (copied, ()) = tokio::join!(back_up(&from, &copy), writes);
        copied.unwrap();
        assert!(back_up(&from, &copy).await.unwrap_err().to_string().contains("exists already"));
        assert_eq!(fresh.store.all_meters().await.unwrap().len(), 51);

        restore(&copy, &to).await.unwrap();
        assert!(restore(&copy, &to).await.unwrap_err().to_string().contains("move it away"));
        let restored = Store::open(&to).await.unwrap();
        assert!(restored.meter("01000000016").await.unwrap().is_some());
        // Counters begin again, so the title must be another one.
        assert_ne!(restored.system_title().await.unwrap(), title);
        assert_eq!(restored.reserve(&serial, 18, 1, 100).await.unwrap(), 1..101);
    }

    #[tokio::test]
    async fn a_damaged_copy_is_not_restored() {
        let fresh = fresh_file().await;
        for i in 0..200 {
            add(&fresh.store, meter(&format!("meter-{i}"), &i.to_string())).await.unwrap();
        }
        let (copy, to) = (fresh.dir.join("copy.db"), fresh.dir.join("restored.db"));
        back_up(&fresh.dir.join("store.db"), &copy).await.unwrap();
        let mut bytes = std::fs::read(&copy).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8_192].fill(0x5A);
        std::fs::write(&copy, bytes).unwrap();
        assert!(restore(&copy, &to).await.is_err());
        assert!(!to.exists());
        assert!(back_up(&fresh.dir.join("nothing.db"), &to).await.is_err());
    }
}
