//! What a failed call means.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::v1::{self, ErrorReason, LlmResponse};

const DOMAIN: &str = "loom-grpc";
const PREFIX: &str = "ERROR_REASON_";

/// A failed call: the reason, words for people, and what is known beside them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Error {
    /// Why the call failed.
    pub reason: ErrorReason,
    /// What happened and what to do.
    pub message: String,
    /// How long to wait before trying again, when known.
    pub retry_after: Option<Duration>,
    /// What else is known: `request_id`, and for example `field` or `provider`; `target` and `grpc_code` where it was no loom-grpc
    /// server that failed the call.
    pub metadata: BTreeMap<String, String>,
    /// What had arrived before an `error` event of a stream; never a complete answer.
    pub partial: Option<Box<LlmResponse>>,
}

impl Error {
    /// Reads what a failed call says; without the details of a loom-grpc server the reason follows from the status code, and the
    /// error's `metadata` names the `target`.
    #[must_use]
    pub fn from_status(status: &Status, target: &str) -> Self {
        Self::told(status).unwrap_or_else(|| Self::bare(status, target))
    }

    /// The reason as `google.rpc.ErrorInfo` names it, such as `PROVIDER_TIMEOUT`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    pub(crate) fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None, metadata: BTreeMap::new(), partial: None }
    }

    /// Reads an `error` event; a reason of a newer contract is INTERNAL.
    pub(crate) fn reported(event: v1::Error) -> Self {
        let reason = known(ErrorReason::try_from(event.reason).ok()).unwrap_or(ErrorReason::Internal);
        Self {
            retry_after: event.retry_after.and_then(|time| time.try_into().ok()),
            partial: event.partial.map(Box::new),
            ..Self::new(reason, event.message)
        }
    }

    fn told(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = known(ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason)))?;
        Some(Self {
            retry_after: status.get_details_retry_info().and_then(|retry| retry.retry_delay),
            metadata: info.metadata.into_iter().collect(),
            ..Self::new(reason, status.message())
        })
    }

    fn bare(status: &Status, target: &str) -> Self {
        let details = details(status);
        let code = cause(status);
        let (reason, message) = meaning(code, &details, target);
        let metadata = [("target", target), ("grpc_code", code_name(code))];
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { metadata: metadata.collect(), ..Self::new(reason, message) }
    }
}

fn known(reason: Option<ErrorReason>) -> Option<ErrorReason> {
    reason.filter(|reason| *reason != ErrorReason::Unspecified)
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name(), self.message)
    }
}

impl std::error::Error for Error {}

/// What tonic says of messages over the limit (`tonic::codec`), and the server's gRPC, with statuses that they also have for other things.
const TOO_LARGE: [&str; 3] = ["message length too large", "larger than max", "metadata size exceeds"];
/// What tonic says of an answer that ends without a status.
const NO_END: &str = "missing grpc-status trailer";

/// Says what a status means that comes from gRPC itself or from a proxy on the way.
fn meaning(code: Code, details: &str, target: &str) -> (ErrorReason, String) {
    if TOO_LARGE.iter().any(|words| details.contains(words)) {
        return (ErrorReason::InvalidRequest, format!("A message or its metadata is too large ({details})."));
    }
    if details.contains(NO_END) {
        return (ErrorReason::ProviderBadResponse, "The server's answer ended without being complete.".to_owned());
    }
    match code {
        Code::Cancelled => {
            (ErrorReason::ProviderUnavailable, format!("The server at {target} cancelled the call ({details})."))
        }
        Code::DeadlineExceeded => {
            (ErrorReason::ProviderTimeout, "The answer did not come within the time limit.".to_owned())
        }
        Code::InvalidArgument => {
            (ErrorReason::InvalidRequest, format!("The server at {target} refused the request ({details})."))
        }
        Code::PermissionDenied => {
            (ErrorReason::PermissionDenied, format!("The server at {target} refused the caller ({details})."))
        }
        Code::ResourceExhausted => {
            (ErrorReason::RateLimited, format!("The server at {target} refused the call ({details})."))
        }
        Code::Unauthenticated => {
            (ErrorReason::Unauthenticated, format!("The server at {target} wants credentials ({details})."))
        }
        Code::Unavailable => {
            (ErrorReason::ProviderUnavailable, format!("There is no connection to the server at {target} ({details})."))
        }
        Code::Unimplemented => {
            (ErrorReason::Internal, format!("The server at {target} does not have this method ({details})."))
        }
        _ => (ErrorReason::Internal, format!("The call to the server at {target} failed ({details}).")),
    }
}

/// Returns the status code, which is gRPC's own also where tonic says UNKNOWN or CANCELLED of a time limit or a broken connection.
fn cause(status: &Status) -> Code {
    let sources: Vec<_> = sources(status).collect();
    if sources.iter().any(|source| source.is::<TimeoutExpired>()) {
        return Code::DeadlineExceeded;
    }
    // A status that was made here out of another error; one that the other side has sent, or that is an answer's, is alone.
    let made_here = sources.iter().any(|source| !source.is::<Status>());
    match status.code() {
        Code::Unknown | Code::Cancelled if made_here => Code::Unavailable,
        code => code,
    }
}

/// Returns the status's message and what it was made from, of which the last says most, each text once.
fn details(status: &Status) -> String {
    let mut texts = vec![status.message().to_owned()];
    for source in sources(status).filter(|source| !source.is::<Status>()).map(ToString::to_string) {
        if !texts.contains(&source) && source != "transport error" {
            texts.push(source);
        }
    }
    texts.retain(|text| !text.is_empty());
    if texts.is_empty() { "no details".to_owned() } else { texts.join(": ") }
}

/// Returns what a status was made from.
pub(crate) fn sources(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
