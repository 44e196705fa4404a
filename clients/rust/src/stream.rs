//! The events of one answer.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Sleep, sleep};
use tonic::codegen::BoxFuture;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Response, Status, Streaming};

use crate::error::Error;
use crate::v1::llm_event::Event;
use crate::v1::{ErrorReason, LlmEvent, LlmResponse};

/// How long the end of a call may take after the last event.
const ENDING: Duration = Duration::from_secs(2);

/// The events of one answer: `started`, deltas, and `completed` as the last; anything else ends in an [`Error`].
///
/// An `error` event is returned as an [`Error`] and not as an event; what had arrived before it is the error's `partial`. The call begins
/// with the first poll, and dropping the stream cancels it, up to the provider.
pub struct EventStream {
    state: State,
    target: Arc<str>,
    timeout: Option<Duration>,
    limit: Option<Pin<Box<Sleep>>>,
    response: Option<LlmResponse>,
    reported: Option<Error>,
    headers: BTreeMap<String, String>,
    trailers: BTreeMap<String, String>,
}

enum State {
    Asking(Call),
    Reading(Box<Streaming<LlmEvent>>),
    Over,
}

type Call = BoxFuture<Response<Streaming<LlmEvent>>, Status>;
type Step = Option<Result<LlmEvent, Status>>;

impl EventStream {
    pub(crate) fn new(call: Call, target: Arc<str>, timeout: Option<Duration>) -> Self {
        Self {
            state: State::Asking(call),
            target,
            timeout,
            limit: None,
            response: None,
            reported: None,
            headers: BTreeMap::new(),
            trailers: BTreeMap::new(),
        }
    }

    /// Waits for the next event; None after `completed`, and after an error.
    pub async fn next(&mut self) -> Option<Result<LlmEvent, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The whole answer, once `completed` has come.
    #[must_use]
    pub fn response(&self) -> Option<&LlmResponse> {
        self.response.as_ref()
    }

    /// The initial metadata, such as `loom-ratelimit`; empty before the first event.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// The trailing metadata, such as `loom-request-id`; empty before the end, which `next` tells by None or an error.
    #[must_use]
    pub fn trailers(&self) -> &BTreeMap<String, String> {
        &self.trailers
    }

    /// Waits for whatever the call says next; None is its end without an error.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if let Some(timeout) = self.timeout.take() {
            self.limit = Some(Box::pin(sleep(timeout)));
        }
        if let State::Asking(call) = &mut self.state {
            match call.as_mut().poll(context) {
                Poll::Ready(Ok(answer)) => {
                    self.headers = texts(answer.metadata());
                    self.state = State::Reading(Box::new(answer.into_inner()));
                }
                Poll::Ready(Err(status)) => return Poll::Ready(Some(Err(status))),
                Poll::Pending => return self.poll_limit(context),
            }
        }
        let State::Reading(events) = &mut self.state else { return Poll::Ready(None) };
        match Pin::new(&mut **events).poll_next(context) {
            Poll::Pending => self.poll_limit(context),
            step @ Poll::Ready(_) => step,
        }
    }

    fn poll_limit(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        let Some(limit) = &mut self.limit else { return Poll::Pending };
        limit.as_mut().poll(context).map(|()| Some(Err(Status::deadline_exceeded(""))))
    }

    /// Looks at an event: an `error` is kept, for the status that follows says more than it does.
    fn take(&mut self, event: LlmEvent) -> Option<LlmEvent> {
        match event.event {
            Some(Event::Error(error)) => {
                self.limit = Some(Box::pin(sleep(ENDING)));
                self.reported = Some(Error::reported(error));
                None
            }
            Some(Event::Completed(ref completed)) => {
                self.limit = Some(Box::pin(sleep(ENDING)));
                self.response = Some(completed.response.clone().unwrap_or_default());
                Some(event)
            }
            _ => Some(event),
        }
    }

    fn finish(&mut self, status: Option<&Status>) -> Option<Error> {
        self.trailers = match (status, &mut self.state) {
            (Some(status), _) => texts(status.metadata()),
            (None, State::Reading(events)) => received_trailers(events),
            (None, _) => BTreeMap::new(),
        };
        self.state = State::Over;
        if self.response.is_some() {
            return None;
        }
        let error = match status {
            Some(status) => Error::from_status(status, &self.target),
            None => Error::new(ErrorReason::ProviderBadResponse, "The server's answer ended without being complete."),
        };
        match self.reported.take() {
            Some(reported) if reported.reason == error.reason => Some(Error { metadata: error.metadata, ..reported }),
            Some(reported) => Some(reported),
            None => Some(error),
        }
    }
}

impl Stream for EventStream {
    type Item = Result<LlmEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if matches!(this.state, State::Over) {
                return Poll::Ready(None);
            }
            let told = this.response.is_some() || this.reported.is_some();
            match ready!(this.poll_step(context)) {
                Some(Ok(_)) if told => {}
                Some(Ok(event)) => {
                    if let Some(event) = this.take(event) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Some(Err(status)) => return Poll::Ready(this.finish(Some(&status)).map(Err)),
                None => return Poll::Ready(this.finish(None).map(Err)),
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventStream").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Returns the trailers of a stream that has ended, for which there is nothing to wait.
fn received_trailers(events: &mut Streaming<LlmEvent>) -> BTreeMap<String, String> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(events.trailers()).poll(&mut context) {
        Poll::Ready(Ok(Some(trailers))) => texts(&trailers),
        _ => BTreeMap::new(),
    }
}

fn texts(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let text = |entry| match entry {
        KeyAndValueRef::Ascii(name, value) => Some((name.to_string(), value.to_str().ok()?.to_owned())),
        KeyAndValueRef::Binary(..) => None,
    };
    metadata.iter().filter_map(text).collect()
}
