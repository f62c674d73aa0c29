//! A store on a PostgreSQL server: who writes to it, and what happens when the connection is lost.
//!
//! One session writes. It holds an advisory lock of the database as long as it lives, so a second gateway on the same
//! database is refused, and a session that was lost can never write beside its successor.
//!
//! A connection lost before `COMMIT` leaves nothing written. One lost in the middle of it leaves that open: the next session
//! asks the server what became of the transaction (`pg_xact_status`) before anybody is answered. So a write here, too,
//! either is durable when it returns, or is not there.

use super::sql::{self, Connection, Pool};
use super::{StoreError, migrate};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};
use std::time::Duration;

/// Reading connections.
const READERS_MAX: u32 = 4;
/// A group of writes takes longer only when the network swallows what is sent: the connection is given up then.
pub(super) const GROUP_PATIENCE: Duration = Duration::from_secs(60);
/// One attempt to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts while a transaction's fate is open.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the lock of a gateway that was just killed may stay: the server notices the end of its connection.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// The advisory lock of the one who writes: "meter-gw" in ASCII.
const WRITER_LOCK: i64 = i64::from_be_bytes(*b"meter-gw");
/// `pg_current_xact_id` and `pg_xact_status` exist since this version.
const VERSION_MIN: i64 = 130_000;

/// A PostgreSQL server and the database in it.
#[derive(Clone)]
pub struct Server {
    options: Box<PgConnectOptions>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Server {
    /// The server that a URL names (`postgres://user@host:port/database`, or `?host=/directory` of a socket). The password is
    /// given apart from it. Over a network the server has to show a certificate for its name, which an authority of the system or of
    /// `sslrootcert` has signed, unless the URL says `sslmode=disable` (or another of PostgreSQL's modes).
    ///
    /// # Errors
    /// What is wrong with the URL; nothing of a password is in it.
    pub fn new(url: &str, password: Option<&str>) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|error| format!("the store's url: {error}"))?;
        if !["postgres", "postgresql"].contains(&parsed.scheme()) {
            return Err(format!("the store's url begins with postgres:, not with {}:", parsed.scheme()));
        }
        if parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| key == "password") {
            return Err("a password does not belong in the url: use password_file or password_env".to_owned());
        }
        let options: PgConnectOptions =
            url.parse().map_err(|error: sqlx::Error| format!("the store's url: {error}"))?;
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        let says_mode = parsed.query_pairs().any(|(key, _)| key == "sslmode" || key == "ssl-mode");
        let options = if says_mode || options.get_socket().is_some() || is_this_machine(options.get_host()) {
            options
        } else {
            options.ssl_mode(PgSslMode::VerifyFull)
        };
        // Whatever the server's default is: what is committed is on its disk.
        let options = options.options([("synchronous_commit", "on")]).statement_cache_capacity(256);
        Ok(Self { options: Box::new(options.disable_statement_logging()) })
    }

    /// Where it is, for a person.
    #[must_use]
    pub fn name(&self) -> String {
        let place = match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        };
        format!("postgres database {} at {place}", self.options.get_database().unwrap_or("(the user's own)"))
    }

    pub(super) fn readers(&self) -> Pool {
        let options = PgConnectOptions::clone(&self.options).application_name("meter-gateway reader");
        PgPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(CONNECT_PATIENCE)
            .connect_lazy_with(options)
            .into()
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// The session that writes.
pub(super) struct Session {
    server: Server,
    /// Tells this gateway's writing sessions from every other's.
    application: String,
    /// `None` after the connection was lost.
    pub conn: Option<Connection>,
}

impl Session {
    /// Connects, takes the lock, and brings the schema up to date.
    pub async fn open(server: Server) -> Result<Self, StoreError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::Sql(format!("no random numbers: {error}")))?;
        let application = format!("meter-gateway writer {:016x}", u64::from_be_bytes(random));
        let mut session = Self { server, application, conn: None };
        let mut conn = session.connect().await?;
        let version: String =
            sqlx::query_scalar("SELECT current_setting('server_version_num')").fetch_one(&mut conn).await?;
        if version.parse::<i64>().unwrap_or(0) < VERSION_MIN {
            let name = session.server.name();
            return Err(StoreError::Sql(format!(
                "{name}: PostgreSQL 13 or newer is needed, this is {version}"
            )));
        }
        session.lock(&mut conn).await?;
        migrate::postgres(&mut conn).await?;
        session.conn = Some(conn.into());
        Ok(session)
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let name = || self.server.name();
        let options = PgConnectOptions::clone(&self.server.options).application_name(&self.application);
        tokio::time::timeout(CONNECT_PATIENCE, options.connect())
            .await
            .map_err(|_| StoreError::Unreachable(format!("{}: no answer", name())))?
            .map_err(|error| StoreError::Unreachable(format!("{}: {error}", name())))
    }

    /// Takes the lock of the one who writes.
    async fn lock(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        let began = tokio::time::Instant::now();
        loop {
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(WRITER_LOCK)
                .fetch_one(&mut *conn)
                .await?;
            if taken {
                return Ok(());
            }
            if began.elapsed() > LOCK_PATIENCE {
                return Err(StoreError::Taken(self.server.name()));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The connection, made anew if it was lost.
    pub async fn connected(&mut self) -> Result<&mut Connection, StoreError> {
        if self.conn.is_none() {
            let mut conn = self.connect().await?;
            // Where the network is at fault, the server may still think that the lost session lives.
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()",
            )
            .bind(&self.application)
            .execute(&mut conn)
            .await?;
            self.lock(&mut conn).await?;
            tracing::info!(server = self.server.name(), "connected to the store again");
            self.conn = Some(conn.into());
        }
        self.conn.as_mut().ok_or(StoreError::Closed)
    }

    /// What became of a transaction whose `COMMIT` was not answered. Asks until the server says; nobody is told anything
    /// before.
    pub async fn settle(&mut self, transaction: &str) -> Result<(), StoreError> {
        tracing::warn!(
            "the connection to the store was lost in the middle of a commit; asking what became of it"
        );
        loop {
            match self.fate(transaction).await {
                Ok(Some(true)) => return Ok(()),
                Ok(Some(false)) => {
                    return Err(StoreError::Unreachable(
                        "the connection was lost; nothing was written".into(),
                    ));
                }
                Ok(None) => {}
                Err(error) => {
                    self.conn = None;
                    tracing::warn!(%error, "the store is away, and a commit's fate is open");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether the transaction was committed; `None` while the server is still at it.
    async fn fate(&mut self, transaction: &str) -> Result<Option<bool>, StoreError> {
        let transaction = transaction.to_owned();
        let status: Option<String> = sql::query_scalar("SELECT pg_xact_status(CAST(? AS xid8))")
            .bind(transaction)
            .fetch_one(self.connected().await?)
            .await?;
        Ok(match status.as_deref() {
            Some("committed") => Some(true),
            Some("aborted") => Some(false),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{PgSslMode, Server};

    #[test]
    fn a_server_elsewhere_has_to_prove_who_it_is_unless_the_url_says_otherwise() {
        let mode = |url: &str| Server::new(url, None).unwrap().options.get_ssl_mode();
        assert!(matches!(mode("postgres://mg@db.example/meters"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://mg@db.example/meters?sslmode=disable"), PgSslMode::Disable));
        for near in ["localhost", "127.0.0.1", "localhost/meters?host=/run/postgresql"] {
            assert!(matches!(mode(&format!("postgres://mg@{near}")), PgSslMode::Prefer), "{near}");
        }
    }
}
