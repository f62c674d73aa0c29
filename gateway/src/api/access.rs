//! Who may do what: bearer tokens with scopes, and the page's session.

use super::correlation::Correlation;
use super::problem::{Problem, json};
use super::{App, problem};
use crate::store::access::ApiToken;
pub use crate::store::access::Scope;
use crate::store::event;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The page's cookie.
pub const COOKIE: &str = "meter_gateway_session";
/// How long a link waits to be opened.
const LINK_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Name of the bearer token, or `page`.
    pub name: String,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Somebody of this name who may do this.
    #[must_use]
    pub fn new(name: &str, scopes: &[Scope]) -> Self {
        Self { name: name.to_owned(), scopes: scopes.to_vec() }
    }

    /// Whether this scope is allowed.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| *held == scope || *held == Scope::Admin)
    }

    /// Insists on a scope.
    ///
    /// # Errors
    /// 403, naming it.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "missing-scope",
            format!("this needs a token with scope {scope}; {:?} has not got it", self.name),
        ))
    }
}

/// A new secret: 256 random bits as hexadecimal digits.
///
/// # Errors
/// When there are no random numbers.
pub fn new_secret() -> std::io::Result<String> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is stored of a secret. A fast hash is enough for 256 random bits.
#[must_use]
pub fn hash_of(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// Lets nobody past who is not known: a bearer token, or the page's session for looking only.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = match identify(&app, request.headers(), request.method()).await {
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => {
            app.http.refused_logins.inc();
            return Err(problem);
        }
        identified => identified?,
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn identify(app: &App, headers: &HeaderMap, method: &Method) -> Result<Caller, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let secret =
            value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
                Problem::unauthorized(
                    "malformed-authorization",
                    "the Authorization header is not \"Bearer TOKEN\"",
                )
            })?;
        let token = app.store.api_token(&hash_of(secret)).await?.ok_or_else(|| {
            Problem::unauthorized("unknown-token", "this bearer token is not known here, or was revoked")
        })?;
        let scopes = token.scopes.split(' ').map(Scope::from_store).collect::<Result<_, _>>()?;
        return Ok(Caller { name: token.name, scopes });
    }
    // A cookie is sent by any page that makes the browser ask; so it is good for looking only.
    if *method == Method::GET && page_session(app, headers).await? {
        return Ok(Caller { name: "page".to_owned(), scopes: vec![Scope::Read] });
    }
    Err(Problem::unauthorized("missing-token", "this needs an Authorization header: \"Bearer TOKEN\""))
}

/// Whether the request carries an open page session.
///
/// # Errors
/// Store failures.
pub(crate) async fn page_session(app: &App, headers: &HeaderMap) -> Result<bool, Problem> {
    let prefix = format!("{COOKIE}=");
    let secret = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(prefix.as_str()).map(str::to_owned));
    match secret {
        // Sessions run in real time, whatever the demo's clock says.
        Some(secret) => Ok(app.store.page_session(&hash_of(&secret), Timestamp::now()).await?),
        None => Ok(false),
    }
}

/// A bearer token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name: it will stand in the audit.
    name: String,
    /// What it allows.
    scopes: Vec<String>,
}

/// A bearer token just made. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenMade {
    /// Its name.
    name: String,
    /// What it allows.
    scopes: Vec<Scope>,
    /// The token.
    token: String,
}

/// Makes a bearer token. Needs scope admin.
#[utoipa::path(post, path = "/api/v1/api-tokens", tag = "access", security(("bearer" = [])), request_body = NewToken,
    responses((status = 201, body = TokenMade), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create_token(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    caller.needs(Scope::Admin)?;
    let new: NewToken = json(&body)?;
    if new.name.is_empty() || new.name.len() > 64 {
        return Err(Problem::refused("bad-name", "a token's name has 1 to 64 characters"));
    }
    let scopes = new
        .scopes
        .iter()
        .map(|word| {
            Scope::parse(word).ok_or_else(|| {
                let detail = format!("scope {word:?} is none of read, operate, top-up, admin");
                Problem::refused("unknown-scope", detail)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if scopes.is_empty() {
        return Err(Problem::refused("unknown-scope", "a token needs at least one scope"));
    }
    let token = format!("mgw_{}", new_secret().map_err(|error| Problem::internal(&error))?);
    let words: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let entry = ApiToken { name: new.name.clone(), scopes: words.join(" ") };
    let now = app.clock.now();
    if !app.store.add_api_token(entry, hash_of(&token), now).await? {
        let detail = format!("there is a token named {:?} already", new.name);
        return Err(Problem::new(StatusCode::CONFLICT, "name-taken", detail));
    }
    let (actor, subject) = (caller.name, new.name.clone());
    app.store
        .write::<_, crate::store::StoreError, _>(move |conn| {
            Box::pin(
                async move { event::audit(conn, now, &actor, "create_token", &subject, &correlation).await },
            )
        })
        .await?;
    Ok((StatusCode::CREATED, Json(TokenMade { name: new.name, scopes, token })))
}

/// A link that opens the page once.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageLink {
    /// Path and secret: put the gateway's address before it.
    path: String,
    /// Until when it waits.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Makes a link that opens the page once, for 15 minutes. Needs scope admin or operate.
#[utoipa::path(post, path = "/api/v1/page-links", tag = "access", security(("bearer" = [])),
    responses((status = 201, body = PageLink), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create_page_link(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<PageLink>), Problem> {
    caller.needs(Scope::Operate)?;
    let secret = new_secret().map_err(|error| Problem::internal(&error))?;
    let expires_at = Timestamp::now().saturating_add(LINK_LIFE).unwrap_or(Timestamp::MAX);
    app.store.add_page_link(hash_of(&secret), expires_at).await?;
    Ok((StatusCode::CREATED, Json(PageLink { path: format!("/enter/{secret}"), expires_at })))
}
