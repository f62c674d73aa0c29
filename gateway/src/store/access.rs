//! Bearer tokens and page sessions. Only hashes are stored; a lost store file opens no door.

use super::sql;
use super::{Store, StoreError, ms};
use jiff::Timestamp;

super::words! {
    /// What a bearer token allows.
    Scope {
        /// Look at everything but token digits.
        Read = "read",
        /// Switch supply, read on demand.
        Operate = "operate",
        /// Read, set and invoke single attributes and methods of meters, and send firmware.
        Engineer = "engineer",
        /// Send signed payments and see their tokens.
        TopUp = "top-up",
        /// Everything, and enter meters and tokens.
        Admin = "admin",
    }
}

/// Whom a bearer token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its name, which is the actor in audit and commands.
    pub name: String,
    /// Its scopes, separated by spaces.
    pub scopes: String,
}

impl Store {
    /// Whether any bearer token was ever made.
    ///
    /// # Errors
    /// Store failures.
    pub async fn has_api_tokens(&self) -> Result<bool, StoreError> {
        let count: i64 = sql::query_scalar("SELECT COUNT(*) FROM api_token").fetch_one(&self.readers).await?;
        Ok(count > 0)
    }

    /// Stores a bearer token's hash. False when the name is taken.
    ///
    /// # Errors
    /// Store failures.
    pub async fn add_api_token(
        &self,
        token: ApiToken,
        hash: Vec<u8>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |conn| {
            Box::pin(async move {
                let done = sql::query(
                    "INSERT INTO api_token (name, hash, scopes, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING",
                )
                .bind(&token.name)
                .bind(hash)
                .bind(&token.scopes)
                .bind(ms(at))
                .execute(conn)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// The bearer token with this hash, unless revoked.
    ///
    /// # Errors
    /// Store failures.
    pub async fn api_token(&self, hash: &[u8]) -> Result<Option<ApiToken>, StoreError> {
        let row = sql::query("SELECT name, scopes FROM api_token WHERE hash = ?1 AND revoked_at IS NULL")
            .bind(hash)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok(ApiToken { name: row.try_get(0)?, scopes: row.try_get(1)? })).transpose()
    }

    /// Stores the hash of a one-time link's secret.
    ///
    /// # Errors
    /// Store failures.
    pub async fn add_page_link(&self, hash: Vec<u8>, expires_at: Timestamp) -> Result<(), StoreError> {
        self.write(move |conn| {
            Box::pin(async move {
                sql::query("INSERT INTO page_secret (hash, kind, expires_at) VALUES (?1, 'link', ?2)")
                    .bind(hash)
                    .bind(ms(expires_at))
                    .execute(conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Uses a link up and stores the hash of the session it buys. False when the link is unknown, used or expired.
    ///
    /// # Errors
    /// Store failures.
    pub async fn redeem_page_link(
        &self,
        link: Vec<u8>,
        session: Vec<u8>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |conn| {
            Box::pin(async move {
                let used = sql::query(
                    "DELETE FROM page_secret WHERE hash = ?1 AND kind = 'link' AND expires_at > ?2",
                )
                .bind(link)
                .bind(ms(now))
                .execute(&mut *conn)
                .await?;
                if used.rows_affected() == 0 {
                    return Ok(false);
                }
                sql::query("DELETE FROM page_secret WHERE expires_at <= ?1")
                    .bind(ms(now))
                    .execute(&mut *conn)
                    .await?;
                sql::query("INSERT INTO page_secret (hash, kind, expires_at) VALUES (?1, 'session', ?2)")
                    .bind(session)
                    .bind(ms(expires_at))
                    .execute(conn)
                    .await?;
                Ok(true)
            })
        })
        .await
    }

    /// Whether a page session with this hash is open.
    ///
    /// # Errors
    /// Store failures.
    pub async fn page_session(&self, hash: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let count: i64 = sql::query_scalar(
            "SELECT COUNT(*) FROM page_secret WHERE hash = ?1 AND kind = 'session' AND expires_at > ?2",
        )
        .bind(hash)
        .bind(ms(now))
        .fetch_one(&self.readers)
        .await?;
        Ok(count > 0)
    }
}
