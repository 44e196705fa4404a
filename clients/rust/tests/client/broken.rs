//! Answers that no loom-grpc server gives.

use loom_grpc::Error;
use loom_grpc::tonic::Code;

use crate::fake::{Act, BEGIN, Fake, STOP, end, fail, message, pairs, text};
use crate::stream::read;

const PAGE: &[u8] = b"<html><body>Bad Gateway</body></html>";

async fn failed(script: Vec<Act>) -> Error {
    let server = Fake::saying(script).await;
    let whole = server.client().complete("Hi").await.unwrap_err();
    let (_, streamed) = read(&mut server.client().stream("Hi")).await;

    assert_eq!(whole, streamed.unwrap());
    assert_eq!(whole.metadata["target"], server.target);
    whole
}

#[tokio::test]
async fn a_page_of_a_proxy_is_told_from_an_answer() {
    for (status, name, code) in [
        (200, "INTERNAL", "UNKNOWN"),
        (401, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED", "PERMISSION_DENIED"),
        (404, "INTERNAL", "UNIMPLEMENTED"),
        (502, "PROVIDER_UNAVAILABLE", "UNAVAILABLE"),
    ] {
        let begin = Act::Begin(status, "text/html", Vec::new());
        let error = failed(vec![begin, Act::Send(PAGE.to_vec()), STOP]).await;

        assert_eq!((error.name(), &*error.metadata["grpc_code"]), (name, code));
        let said = format!("(HTTP status {status} and content type \"text/html\" instead of gRPC)");
        assert!(error.message.contains(&said), "{error}");
    }
}

#[tokio::test]
async fn a_page_over_http_1_is_no_connection() {
    let page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
    let server = Fake::shouting(page).await;

    let error = server.client().complete("Hi").await.unwrap_err();

    assert_eq!((error.name(), &*error.metadata["grpc_code"]), ("PROVIDER_UNAVAILABLE", "UNAVAILABLE"), "{error}");
}

#[tokio::test]
async fn an_unknown_reason_falls_back_to_the_status() {
    let end = fail(Code::ResourceExhausted, "FROM_THE_FUTURE", &[]);
    let error = failed(vec![BEGIN, end]).await;

    assert_eq!((error.name(), &*error.metadata["grpc_code"]), ("RATE_LIMITED", "RESOURCE_EXHAUSTED"));
}

#[tokio::test]
async fn details_that_are_no_base64_are_passed_over() {
    let end = pairs([("grpc-status", "3"), ("grpc-message", "no"), ("grpc-status-details-bin", "not base64!")]);
    let begin = Act::Begin(200, "application/grpc", end.clone());
    for script in [vec![BEGIN, Act::End(end)], vec![begin, STOP]] {
        let error = failed(script).await;

        assert_eq!((error.name(), &*error.metadata["grpc_code"]), ("INVALID_REQUEST", "INVALID_ARGUMENT"));
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_an_error() {
    let error = failed(vec![BEGIN, Act::Send(vec![0, 0, 0, 0, 1, 0xff]), STOP]).await;

    assert_eq!(error.name(), "INTERNAL");
    assert!(error.message.contains("failed to decode"), "{error}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_by_its_length() {
    let error = failed(vec![BEGIN, Act::Send(vec![0, 4, 0, 0, 1]), STOP]).await;

    assert_eq!(error.name(), "INVALID_REQUEST");
    assert!(error.message.starts_with("A message or its metadata is too large"), "{error}");
}

#[tokio::test]
async fn a_status_of_another_program_is_named_by_its_code() {
    for (status, name, code) in [
        ("1", "PROVIDER_UNAVAILABLE", "CANCELLED"),
        ("2", "INTERNAL", "UNKNOWN"),
        ("3", "INVALID_REQUEST", "INVALID_ARGUMENT"),
        ("4", "PROVIDER_TIMEOUT", "DEADLINE_EXCEEDED"),
        ("5", "INTERNAL", "NOT_FOUND"),
        ("7", "PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("8", "RATE_LIMITED", "RESOURCE_EXHAUSTED"),
        ("12", "INTERNAL", "UNIMPLEMENTED"),
        ("14", "PROVIDER_UNAVAILABLE", "UNAVAILABLE"),
        ("16", "UNAUTHENTICATED", "UNAUTHENTICATED"),
        ("99", "INTERNAL", "UNKNOWN"),
    ] {
        let server = Fake::saying(vec![BEGIN, message(&text("Hi")), end([("grpc-status", status)])]).await;

        let (_, error) = read(&mut server.client().stream("Hi")).await;
        let error = error.unwrap();

        assert_eq!((error.name(), &*error.metadata["grpc_code"]), (name, code));
    }
}
