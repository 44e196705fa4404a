//! Streams, to whatever end they come.

use std::time::{Duration, Instant};

use loom_grpc::tonic::Code;
use loom_grpc::v1::llm_event::Event;
use loom_grpc::v1::{self, LlmEvent};
use loom_grpc::{Error, ErrorReason, EventStream};

use crate::fake::{Act, BEGIN, Fake, STOP, answer, completed, end, event, fail, message, ok, pairs, text};

/// Reads to the end: the events, and the error if there is one.
pub async fn read(events: &mut EventStream) -> (Vec<LlmEvent>, Option<Error>) {
    let mut seen = Vec::new();
    while let Some(next) = events.next().await {
        match next {
            Ok(event) => seen.push(event),
            Err(error) => {
                assert_eq!(events.next().await, None);
                return (seen, Some(error));
            }
        }
    }
    (seen, None)
}

fn reported(reason: i32) -> LlmEvent {
    let partial = Some(answer("half"));
    let retry_after = Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 });
    event(Event::Error(v1::Error { reason, message: "It broke.".to_owned(), retry_after, partial }))
}

#[tokio::test]
async fn a_stream_ends_after_completed_with_response_and_trailers() {
    let end = end([("grpc-status", "0"), ("loom-attempts", "2")]);
    let begin = Act::Begin(200, "application/grpc", pairs([("loom-ratelimit", "requests;limit=1")]));
    let server =
        Fake::saying(vec![begin, message(&text("Hi")), message(&completed("a")), message(&text("late")), end]).await;
    let mut events = server.client().stream("Hi");

    let (seen, error) = read(&mut events).await;

    assert_eq!(seen, [text("Hi"), completed("a")]);
    assert_eq!(error, None);
    assert_eq!(events.response(), Some(&answer("a")));
    assert_eq!(events.headers()["loom-ratelimit"], "requests;limit=1");
    assert_eq!(events.trailers()["loom-attempts"], "2");
}

#[tokio::test]
async fn a_completed_answer_does_not_wait_for_a_server_that_never_ends_the_call() {
    let mut server = Fake::saying(vec![BEGIN, message(&completed("a")), Act::AwaitReset]).await;
    let mut events = server.client().stream("Hi");
    let began = Instant::now();

    let (seen, error) = read(&mut events).await;
    server.call().await;

    assert_eq!((seen, error), (vec![completed("a")], None));
    assert_eq!(server.reset().await, h2::Reason::CANCEL);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_failure_after_completed_does_not_count() {
    let server = Fake::saying(vec![BEGIN, message(&completed("a")), end([("grpc-status", "13")])]).await;

    let (seen, error) = read(&mut server.client().stream("Hi")).await;

    assert_eq!((seen, error), (vec![completed("a")], None));
}

#[tokio::test]
async fn an_error_event_is_an_error_with_what_the_status_knows() {
    let end = fail(Code::ResourceExhausted, "PROVIDER_RATE_LIMITED", &[("request_id", "r")]);
    let reason = ErrorReason::ProviderRateLimited;
    let server = Fake::saying(vec![BEGIN, message(&text("Hi")), message(&reported(reason.into())), end]).await;
    let mut events = server.client().stream("Hi");

    let (seen, error) = read(&mut events).await;
    let error = error.unwrap();

    assert_eq!(seen, [text("Hi")]);
    assert_eq!((error.reason, error.name(), &*error.message), (reason, "PROVIDER_RATE_LIMITED", "It broke."));
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(error.partial, Some(Box::new(answer("half"))));
    assert_eq!(error.metadata.into_iter().collect::<Vec<_>>(), [("request_id".to_owned(), "r".to_owned())]);
}

#[tokio::test]
async fn a_reason_of_a_newer_contract_is_internal() {
    let server = Fake::saying(vec![BEGIN, message(&reported(9999)), end([("grpc-status", "9")])]).await;

    let (_, error) = read(&mut server.client().stream("Hi")).await;
    let error = error.unwrap();

    assert_eq!((error.name(), &*error.message), ("INTERNAL", "It broke."));
    assert_eq!(error.partial, Some(Box::new(answer("half"))));
}

#[tokio::test]
async fn an_end_without_completed_is_a_bad_response() {
    for end in [ok(), STOP] {
        let server = Fake::saying(vec![BEGIN, message(&text("Hi")), end]).await;

        let (seen, error) = read(&mut server.client().stream("Hi")).await;

        assert_eq!(seen, [text("Hi")]);
        assert_eq!(
            error.unwrap().to_string(),
            "PROVIDER_BAD_RESPONSE: The server's answer ended without being complete."
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_unavailable_provider() {
    for end in [Act::Hang, Act::Reset(h2::Reason::INTERNAL_ERROR)] {
        let server = Fake::saying(vec![BEGIN, message(&text("Hi")), end]).await;

        let (_, error) = read(&mut server.client().stream("Hi")).await;
        let error = error.unwrap();

        assert_eq!(error.name(), "PROVIDER_UNAVAILABLE", "{error}");
        assert_eq!(error.metadata["target"], server.target);
        assert_eq!(error.metadata["grpc_code"], "UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_stream_can_be_read_by_another_task() {
    let server = Fake::saying(vec![BEGIN, message(&completed("a")), ok()]).await;
    let mut events = server.client().stream("Hi");

    let (seen, _) = tokio::spawn(async move { read(&mut events).await }).await.unwrap();

    assert_eq!(seen, [completed("a")]);
}

#[tokio::test]
async fn dropping_a_stream_cancels_the_call() {
    let mut server = Fake::saying(vec![BEGIN, message(&text("Hi")), Act::AwaitReset]).await;
    let mut events = server.client().stream("Hi");
    events.next().await.unwrap().unwrap();

    drop(events);
    server.call().await;

    assert_eq!(server.reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_timeout_ends_a_stream_that_has_fallen_silent() {
    let mut server = Fake::saying(vec![BEGIN, message(&text("Hi")), Act::AwaitReset]).await;

    let (seen, error) = read(&mut server.client().with_timeout(Duration::from_secs(1)).stream("Hi")).await;
    server.call().await;

    assert_eq!(seen, [text("Hi")]);
    assert_eq!(error.unwrap().name(), "PROVIDER_TIMEOUT");
    assert_eq!(server.reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn events_and_values_of_a_newer_contract_are_handed_on() {
    let unknown = Act::Send(vec![0, 0, 0, 0, 4, 0xa2, 0x06, 1, b'x']); // a case with the number 100
    let mut last = answer("a");
    last.stop_reason = 99;
    let end = event(Event::Completed(v1::Completed { response: Some(last.clone()) }));
    let server = Fake::saying(vec![BEGIN, unknown, message(&text("Hi")), message(&end), ok()]).await;
    let mut events = server.client().stream("Hi");

    let (seen, error) = read(&mut events).await;

    assert_eq!(seen, [LlmEvent::default(), text("Hi"), end]);
    assert_eq!(error, None);
    assert_eq!(events.response(), Some(&last));
}
