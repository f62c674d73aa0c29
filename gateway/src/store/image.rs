//! Firmware images for meters: kept whole, never changed, named once.

use super::sql::{self, Connection};
use super::{Store, StoreError, ms, time};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// An image without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageEntry {
    /// Its name here.
    pub name: String,
    /// What a meter is told it is called.
    pub identifier: String,
    /// What a meter says its firmware is, once it runs.
    pub version: String,
    /// Its length in bytes.
    pub size: i64,
    /// Who brought it.
    pub added_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Writes an image; false when the name is taken.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, entry: &ImageEntry, bytes: &[u8]) -> Result<bool, StoreError> {
    let written = sql::query(
        "INSERT INTO firmware_image (name, identifier, version, bytes, added_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(&entry.name)
    .bind(&entry.identifier)
    .bind(&entry.version)
    .bind(bytes)
    .bind(&entry.added_by)
    .bind(ms(entry.at))
    .execute(conn)
    .await?
    .rows_affected();
    Ok(written > 0)
}

impl Store {
    /// Every image, without bytes, in the order of their names.
    ///
    /// # Errors
    /// Store failures.
    pub async fn images(&self) -> Result<Vec<ImageEntry>, StoreError> {
        let rows = sql::query(
            "SELECT name, identifier, version, CAST(LENGTH(bytes) AS BIGINT) AS size, added_by, at FROM firmware_image ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ImageEntry {
                    name: row.try_get("name")?,
                    identifier: row.try_get("identifier")?,
                    version: row.try_get("version")?,
                    size: row.try_get("size")?,
                    added_by: row.try_get("added_by")?,
                    at: time(row.try_get("at")?)?,
                })
            })
            .collect()
    }

    /// An image's identifier, version and bytes.
    ///
    /// # Errors
    /// Store failures.
    pub async fn image(&self, name: &str) -> Result<Option<(String, String, Vec<u8>)>, StoreError> {
        let row = sql::query("SELECT identifier, version, bytes FROM firmware_image WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok((row.try_get("identifier")?, row.try_get("version")?, row.try_get("bytes")?)))
            .transpose()
    }
}
