//! One HTTP/2 connection, and what an answer must be before tonic reads it.

use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const USER_AGENT: &str = concat!("loom-grpc-rust/", env!("CARGO_PKG_VERSION"));
/// How long opening a connection may take, by TCP and again by TLS; without it a call waits for as long as the system does.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A model may think for minutes without a word: pings tell that from a dead connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const DETAILS: &str = "grpc-status-details-bin";

/// What a client's stubs call over; it takes for gRPC only what is.
#[derive(Clone, Debug)]
pub struct Connection(Channel);

impl Connection {
    /// Prepares the connection; it is opened by the first call, and again by the first after it was lost.
    pub(crate) fn lazy(endpoint: &Endpoint) -> Self {
        Self(endpoint.connect_lazy())
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Service::poll_ready(&mut self.0, context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(readable(checked(answer.await?)?)) })
    }
}

pub(crate) fn endpoint(target: &str, secure: bool) -> Result<Endpoint, tonic::transport::Error> {
    let scheme = if secure { "https" } else { "http" };
    Ok(Endpoint::from_shared(format!("{scheme}://{target}"))?
        .user_agent(USER_AGENT)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT))
}

/// Refuses what is not gRPC, such as a proxy's page: tonic would read its first letters as a message's length.
fn checked(answer: Response<Body>) -> Result<Response<Body>, Status> {
    let content_type = answer.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("unreadable"));
    if content_type.starts_with("application/grpc") {
        return Ok(answer);
    }
    let text = format!("HTTP status {} and content type {content_type:?} instead of gRPC", answer.status().as_u16());
    Err(Status::new(meaning(answer.status()), text))
}

/// Says what an HTTP status means (github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md, seen 2026-11-21).
fn meaning(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Takes out details that are not base64: tonic 0.14 panics on them (`Status::from_header_map`).
fn readable(mut answer: Response<Body>) -> Response<Body> {
    drop_unreadable(answer.headers_mut());
    answer.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                drop_unreadable(trailers);
            }
            frame
        }))
    })
}

fn drop_unreadable(headers: &mut HeaderMap) {
    let unreadable =
        MetadataMap::from_headers(headers.clone()).get_bin(DETAILS).is_some_and(|it| it.to_bytes().is_err());
    if unreadable {
        headers.remove(DETAILS);
    }
}
