//! Whole answers, connections and what is sent with a call.

use std::time::Duration;

use loom_grpc::v1::{ListModelsRequest, ListModelsResponse};
use loom_grpc::{Client, ClientTlsConfig, Model};
use prost::Message;
use tokio::net::TcpListener;

use crate::fake::{Act, BEGIN, Fake, answer, end, message, ok};

#[tokio::test]
async fn the_key_the_metadata_and_the_timeout_are_sent() {
    let mut server = Fake::saying(vec![BEGIN, message(&answer("a")), ok()]).await;
    let client = Client::builder(&*server.target).api_key("k-1").metadata("X-Team", "red").build().unwrap();
    let client = client.with_timeout(Duration::from_secs(7)).with_metadata("x-request-id", "r").unwrap();

    let answered = client.complete("Hi").await.unwrap();
    let (headers, _) = server.call().await;

    assert_eq!(answered, answer("a"));
    let sent = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(sent("authorization"), "Bearer k-1");
    assert_eq!(sent("x-team"), "red");
    assert_eq!(sent("x-request-id"), "r");
    assert_eq!(sent("grpc-timeout"), "7000000u");
    assert!(
        sent("user-agent").starts_with(concat!("loom-grpc-rust/", env!("CARGO_PKG_VERSION"))),
        "{}",
        sent("user-agent")
    );
}

#[tokio::test]
async fn the_key_is_never_shown() {
    let builder = Client::builder("127.0.0.1:1").api_key("k-secret");
    let shown = format!("{builder:?}");
    let client = builder.build().unwrap();
    let request = client.request(());
    let other = client.with_metadata("Authorization", "Bearer k-secret").unwrap().request(());
    let error = client.complete("Hi").await.unwrap_err();

    let calls = format!("{client:?} {:?} {request:?} {other:?}", client.stream("Hi"));
    for text in [shown, calls, format!("{error:?} {error}")] {
        assert!(!text.contains("k-secret"), "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is() {
    let key = Client::builder("127.0.0.1:1").api_key("se cret").build().unwrap_err();
    let name = Client::new("127.0.0.1:1").unwrap().with_metadata("x team", "red").unwrap_err();
    let value = Client::new("127.0.0.1:1").unwrap().with_metadata("x-team", "röd").unwrap_err();

    assert_eq!(key.to_string(), "INVALID_REQUEST: api_key: must be printable ASCII without spaces or line breaks");
    assert_eq!(name.to_string(), "INVALID_REQUEST: metadata: \"x team\" is not a name for text");
    assert_eq!(value.to_string(), "INVALID_REQUEST: metadata: the value of x-team must be printable ASCII");
}

#[test]
fn a_target_is_a_host_and_a_port() {
    for target in [
        "",
        "here",
        ":1",
        "here:",
        "here:65536",
        "not a target:1",
        "::1:1",
        "http://here:1",
        "here:1/path",
        "ada:secret@here:1",
    ] {
        let error = Client::new(target).unwrap_err();

        assert_eq!(error.to_string(), "INVALID_REQUEST: target: must be host:port", "{target}");
    }
    for target in ["here:1", "127.0.0.1:50051", "[::1]:50051", "loom.example.com:443"] {
        assert_eq!(Client::new(target).unwrap().target(), target);
    }
}

#[test]
fn a_client_can_be_made_before_there_is_a_runtime() {
    let client = Client::new("127.0.0.1:1").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let error = runtime.block_on(client.complete("Hi")).unwrap_err();

    assert!(error.message.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn calls_that_wait_for_a_connection_fail_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let client = Client::builder(target).tls(ClientTlsConfig::new().with_enabled_roots()).build().unwrap();
    let hang_up_once = async { drop(listener.accept().await.unwrap()) };

    let (first, second, mut stream) = (client.complete("Hi"), client.complete("Hi"), client.stream("Hi"));
    let (first, second, third, ()) = tokio::join!(first, second, stream.next(), hang_up_once);

    let first = first.unwrap_err();
    assert_eq!(first.name(), "PROVIDER_UNAVAILABLE", "{first}");
    assert_eq!((second.unwrap_err(), third.unwrap().unwrap_err()), (first.clone(), first));
}

#[tokio::test]
async fn models_of_all_pages_are_listed() {
    let model = |id: &str| Model { id: id.to_owned(), ..Default::default() };
    let page = |id: &str, next: &str| ListModelsResponse { models: vec![model(id)], next_page_token: next.to_owned() };
    let script = |page: &ListModelsResponse| vec![BEGIN, message(page), ok()];
    let mut server = Fake::with(vec![script(&page("a", "t")), script(&page("b", ""))]).await;

    let models = server.client().list_models("p").await.unwrap();
    let (_, first) = server.call().await;
    let (_, second) = server.call().await;

    assert_eq!(models, [model("a"), model("b")]);
    let asked =
        |page_token: &str| ListModelsRequest { provider: "p".into(), page_size: 1000, page_token: page_token.into() };
    assert_eq!(ListModelsRequest::decode(&*first).unwrap(), asked(""));
    assert_eq!(ListModelsRequest::decode(&*second).unwrap(), asked("t"));
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    let server = Fake::saying(vec![BEGIN, message(&answer("a")), ok()]).await;

    let error = server.client().complete("x".repeat(64 * 1024 * 1024)).await.unwrap_err();

    assert_eq!(error.name(), "INVALID_REQUEST");
    assert_eq!(error.message, "A message or its metadata is too large (67108876 bytes are larger than max, 67108864).");
}

#[tokio::test]
async fn an_error_of_many_words_is_read() {
    let words = "word ".repeat(50_000);
    let server = Fake::saying(vec![BEGIN, end([("grpc-status", "3"), ("grpc-message", &words)])]).await;

    let error = server.client().complete("Hi").await.unwrap_err();

    assert_eq!(error.name(), "INVALID_REQUEST");
    assert_eq!(error.message, format!("The server at {} refused the request ({words}).", server.target));
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let mut server = Fake::saying(vec![BEGIN, Act::AwaitReset]).await;
    let client = server.client();
    let call = tokio::spawn(async move { client.complete("Hi").await });

    server.call().await;
    call.abort();

    assert_eq!(server.reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_timeout_ends_a_call_that_has_begun_to_answer() {
    let mut server = Fake::saying(vec![BEGIN, Act::AwaitReset]).await;

    let error = server.client().with_timeout(Duration::from_secs(1)).complete("Hi").await.unwrap_err();
    server.call().await;

    assert_eq!(error.name(), "PROVIDER_TIMEOUT");
    assert_eq!(error.message, "The answer did not come within the time limit.");
    assert_eq!(error.metadata["grpc_code"], "DEADLINE_EXCEEDED");
    assert_eq!(error.metadata["target"], server.target);
    assert_eq!(server.reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_by_the_next_call() {
    let listener = kept_port().await;
    let address = listener.local_addr().unwrap();
    let server = Fake::on(listener, vec![vec![Act::Hang]]);
    let client = server.client();

    let gone = client.complete("Hi").await.unwrap_err();
    drop(server);
    tokio::task::yield_now().await; // lets the runtime close the listener
    let missing = client.complete("Hi").await.unwrap_err();
    let listener = TcpListener::bind(address).await.unwrap();
    let _server = Fake::on(listener, vec![vec![BEGIN, message(&answer("back")), ok()]]);
    let back = client.complete("Hi").await.unwrap();

    assert_eq!((gone.name(), missing.name()), ("PROVIDER_UNAVAILABLE", "PROVIDER_UNAVAILABLE"));
    assert!(missing.message.contains("Connection refused"), "{missing}");
    assert_eq!(back, answer("back"));
}

/// Listens at a port below those that systems give away by themselves, so that nobody gets it meanwhile.
async fn kept_port() -> TcpListener {
    let first = 12_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    for port in first..32_000 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
    panic!("all ports are taken");
}
