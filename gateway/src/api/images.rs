//! Firmware images for meters: brought here whole, then sent by `update_image`.

use super::App;
use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::problem::{self, Params, Problem};
use crate::store::image::{self, ImageEntry};
use crate::store::{StoreError, event};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

/// The longest name, identifier or version, in bytes.
const TEXT_MAX: usize = 64;

/// What an image is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What a meter is told it is called.
    identifier: String,
    /// What a meter says its firmware is, once it runs.
    version: String,
}

/// Brings a firmware image; its bytes are the body. It is never changed: another one has another name. Needs scope admin.
#[utoipa::path(post, path = "/api/v1/images/{name}", tag = "images", security(("bearer" = [])),
    params(("name" = String, Path,), About),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ImageEntry), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(name): Path<String>,
    Params(about): Params<About>,
    body: Bytes,
) -> Result<(StatusCode, Json<ImageEntry>), Problem> {
    caller.needs(Scope::Admin)?;
    for (what, text) in [("name", &name), ("identifier", &about.identifier), ("version", &about.version)] {
        if text.is_empty() || text.len() > TEXT_MAX {
            return Err(Problem::refused(
                "bad-image",
                format!("the {what} is not 1 to {TEXT_MAX} bytes long"),
            ));
        }
    }
    if body.is_empty() {
        return Err(Problem::refused("bad-image", "the image is empty"));
    }
    let entry = ImageEntry {
        name: name.clone(),
        identifier: about.identifier,
        version: about.version,
        size: i64::try_from(body.len()).unwrap_or(i64::MAX),
        added_by: caller.name,
        at: app.clock.now(),
    };
    let new = entry.clone();
    let written = app
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let written = image::insert(&mut *conn, &new, &body).await?;
                if written {
                    let subject = format!("image {}", new.name);
                    event::audit(conn, new.at, &new.added_by, "add_image", &subject, &correlation).await?;
                }
                Ok(written)
            })
        })
        .await?;
    if !written {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "image-exists",
            format!("there is an image {name} already"),
        ));
    }
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Lists firmware images. Needs scope read.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", security(("bearer" = [])),
    responses((status = 200, body = Vec<ImageEntry>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<ImageEntry>>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(Json(app.store.images().await?))
}
