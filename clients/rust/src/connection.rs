//! One HTTP/2 connection, and what an answer must be before tonic reads it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tokio::sync::SetOnce;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::error::sources;

const USER_AGENT: &str = concat!("loom-grpc-rust/", env!("CARGO_PKG_VERSION"));
/// How long opening a connection may take, by TCP and again by TLS; without it a call waits for as long as the system does.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A model may think for minutes without a word: pings tell that from a dead connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer's or its end's metadata; h2's own 16 KiB are less than a server may have to say, and far over them it ends the connection.
const MAX_HEADER_BYTES: u32 = 1024 * 1024;
/// How often a call looks for a connection that takes its request: one that the server sends away meanwhile does not.
const ATTEMPTS: u32 = 3;
const DETAILS: &str = "grpc-status-details-bin";

/// What a client's stubs call over; it takes for gRPC only what is.
#[derive(Clone, Debug)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
    line: Arc<Mutex<Option<Line>>>,
}

/// A connection that is opened by the first call, and again by the first after it was lost, until that fails. All calls that wait for it
/// fail with it: tonic has each of them wait for an attempt of its own, one after the other.
#[derive(Clone, Debug)]
struct Line {
    channel: Channel,
    failure: Arc<SetOnce<Status>>,
}

impl Connection {
    /// Prepares the connection; it is opened by the first call, and again by the first after it was lost.
    pub(crate) fn lazy(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), line: Arc::default() }
    }

    async fn ask(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let body = Kept(Arc::new(Mutex::new(Some(body))));
        let mut attempts = ATTEMPTS;
        loop {
            let line = self.line();
            let answer = line.ask(head.clone(), &body).await;
            attempts -= 1;
            match &answer {
                Err(status) if made_of::<ConnectError>(status) => self.give_up(&line, status),
                Err(status) if body.is_whole() && attempts > 0 && !made_of::<TimeoutExpired>(status) => continue,
                _ => {}
            }
            return answer;
        }
    }

    fn line(&self) -> Line {
        let open = || Line { channel: self.endpoint.connect_lazy(), failure: Arc::default() };
        self.current().get_or_insert_with(open).clone()
    }

    /// Has the next call open another line.
    fn give_up(&self, line: &Line, status: &Status) {
        self.current().take_if(|current| Arc::ptr_eq(&current.failure, &line.failure));
        let _ = line.failure.set(status.clone()); // the first to tell is enough
    }

    fn current(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Waits for the answer, and until the request is on its way also for the line's failure.
    async fn ask(&self, head: Parts, body: &Kept) -> Result<Response<Body>, Status> {
        let mut answer = pin!(self.answer(Request::from_parts(head, body.lend())));
        let mut failure = pin!(self.failure.wait());
        poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Pending if body.is_whole() => failure.as_mut().poll(context).map(|status| Err(status.clone())),
            answer => answer,
        })
        .await
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut channel = self.channel.clone();
        let answer = async {
            poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        };
        answer.await.map_err(|error| Status::from_error(error.into()))
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.clone().ask(request);
        Box::pin(async move { Ok(readable(checked(answer.await?)?)) })
    }
}

/// A request's body, which is whole until a connection takes it.
#[derive(Clone)]
struct Kept(Arc<Mutex<Option<Body>>>);

impl Kept {
    fn lend(&self) -> Body {
        Body::new(StreamBody::new(Lent { kept: self.clone(), taken: None }))
    }

    fn is_whole(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    kept: Kept,
    taken: Option<BodyStream<Body>>,
}

impl Stream for Lent {
    type Item = <BodyStream<Body> as Stream>::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { kept, taken } = self.get_mut();
        if taken.is_none() {
            *taken = kept.lock().take().map(BodyStream::new);
        }
        taken.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_next(context))
    }
}

fn made_of<E: std::error::Error + 'static>(status: &Status) -> bool {
    sources(status).any(<dyn std::error::Error>::is::<E>)
}

pub(crate) fn endpoint(target: &str, secure: bool) -> Result<Endpoint, tonic::transport::Error> {
    let scheme = if secure { "https" } else { "http" };
    Ok(Endpoint::from_shared(format!("{scheme}://{target}"))?
        .user_agent(USER_AGENT)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
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
