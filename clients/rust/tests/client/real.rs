//! The real server, as `LOOM_TEST_PROGRAM` names it or of the project's own `.venv`, with the mock provider.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};

use loom_grpc::v1::admin_service_client::AdminServiceClient;
use loom_grpc::v1::{ListAccountsRequest, llm_event::Event};
use loom_grpc::{Certificate, Client, ClientTlsConfig, Error, Identity, LlmRequest, assistant, system, user};

use crate::stream::read;

/// A server that is stopped when this is dropped.
struct Server {
    target: String,
    process: Child,
}

impl Server {
    fn start(name: &str, settings: &str) -> Self {
        let folder = folder(name);
        let file = folder.join("loom.yaml");
        std::fs::write(&file, format!("providers: {{mock: {{timeouts: {{idle_s: 1}}}}}}\n{settings}\n")).unwrap();
        let log = folder.join("log");
        let mut process = Command::new(program())
            .args(["serve", "--no-http", "--config", file.to_str().unwrap()])
            .env("XDG_STATE_HOME", &folder)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let target = lines.find_map(|line| line.strip_prefix("  gRPC ")?.split_whitespace().next().map(str::to_owned));
        let greeted = lines.any(|line| line.contains(" chat "));
        assert!(greeted, "{}", std::fs::read_to_string(log).unwrap());
        Self { target: target.unwrap(), process }
    }

    /// Returns the server without settings that tests share while one of them runs.
    fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Mutex<Weak<Server>>> = LazyLock::new(Mutex::default);
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start("shared", "grpc: {address: '127.0.0.1:0'}"));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn client(&self) -> Client {
        Client::new(&*self.target).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn program() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/loom-grpc");
    std::env::var_os("LOOM_TEST_PROGRAM").map_or(own, PathBuf::from)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn to(model: &str, text: &str) -> LlmRequest {
    LlmRequest { provider: "mock".into(), model: model.into(), ..user(text).into() }
}

async fn refused(client: &Client, model: &str) -> Error {
    client.complete(to(model, "Hi")).await.unwrap_err()
}

#[tokio::test]
async fn whole_answers_tokens_vectors_and_models() {
    let server = Server::shared();
    let client = server.client();
    let conversation = vec![system("Be brief."), user("Hello"), assistant("Yes?"), user("Grüße, 世界 🦀")];
    let request = LlmRequest { model: "mock/mock-echo".into(), ..conversation.into() };

    let answer = client.complete(request.clone()).await.unwrap();
    let tokens = client.count_tokens(request).await.unwrap();
    let mut texts: loom_grpc::EmbedRequest = ["a", "b"].into();
    texts.model = "mock/mock-embed".into();
    let vectors = client.embed(texts).await.unwrap();
    let models = client.list_models("mock").await.unwrap();

    assert_eq!(answer.message.unwrap().content, "Grüße, 世界 🦀");
    assert!(tokens.input_tokens > 0);
    assert_eq!(vectors.embeddings.len(), 2);
    assert!(models.iter().any(|model| model.id == "mock-echo"));
}

#[tokio::test]
async fn a_stream_comes_to_completed_with_its_trailers() {
    let server = Server::shared();
    let mut events = server.client().stream(to("mock-words", "Hi"));

    let (seen, error) = read(&mut events).await;
    let text: String = seen
        .iter()
        .filter_map(|event| match &event.event {
            Some(Event::TextDelta(delta)) => Some(&*delta.content),
            _ => None,
        })
        .collect();

    assert_eq!(error, None);
    assert!(matches!(seen[0].event, Some(Event::Started(_))));
    assert_eq!(events.response().unwrap().message.as_ref().unwrap().content, text);
    assert_eq!(events.trailers()["loom-provider"], "mock");
    assert_eq!(events.trailers()["loom-request-id"].len(), 32);
}

#[tokio::test]
async fn four_mebibytes_go_out_and_come_back() {
    let server = Server::shared();
    let text = "0123456789abcdef".repeat(256 * 1024);

    let answer = server.client().complete(to("mock-echo", &text)).await.unwrap();

    assert!(answer.message.unwrap().content == text);
}

#[tokio::test]
async fn failures_have_reason_wait_and_partial() {
    let server = Server::shared();
    let client = server.client();

    let quota = refused(&client, "mock-quota").await;
    let limited = refused(&client, "mock-429").await;
    let unknown = refused(&client, "no-such-model").await;
    let (_, broken) = read(&mut client.stream(to("mock-error", "Hi"))).await;
    let broken = broken.unwrap();

    assert_eq!(quota.name(), "PROVIDER_QUOTA_EXCEEDED");
    assert_eq!((limited.name(), limited.retry_after), ("PROVIDER_RATE_LIMITED", Some(Duration::from_secs(1))));
    assert_eq!((unknown.name(), unknown.metadata["request_id"].len()), ("MODEL_NOT_FOUND", 32));
    assert_eq!((broken.name(), broken.metadata["request_id"].len()), ("PROVIDER_UNAVAILABLE", 32));
    assert!(!broken.partial.unwrap().message.unwrap().content.is_empty());
}

#[tokio::test]
async fn a_timeout_is_told_apart() {
    let server = Server::shared();
    let client = server.client().with_timeout(Duration::from_millis(700));

    let whole = refused(&client, "mock-slow").await;
    let (_, streamed) = read(&mut client.stream(to("mock-slow", "Hi"))).await;

    assert_eq!(whole.name(), "PROVIDER_TIMEOUT");
    assert_eq!(streamed.unwrap().name(), "PROVIDER_TIMEOUT");
}

#[tokio::test]
async fn no_call_is_lost_when_the_server_sends_its_connections_away() {
    let server = Server::start("aging", "grpc: {address: '127.0.0.1:0', max_connection_age_s: 0.1}");
    let client = server.client();
    let end = Instant::now() + Duration::from_secs(2);
    let callers = (0..20).map(|_| tokio::spawn(failures_until(end, client.clone())));

    let mut failures = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        failures.extend(caller.await.unwrap());
    }

    assert_eq!(failures, Vec::<Error>::new());
}

/// Calls again and again, and returns what went wrong.
async fn failures_until(end: Instant, client: Client) -> Vec<Error> {
    let mut failures = Vec::new();
    while Instant::now() < end {
        failures.extend(client.complete(to("mock-echo", "Hi")).await.err());
    }
    failures
}

#[tokio::test]
async fn stubs_of_other_services_share_the_connection() {
    let server = Server::shared();
    let client = server.client();
    let request = client.request(ListAccountsRequest::default());
    let refused = AdminServiceClient::new(client.connection()).list_accounts(request).await.unwrap_err();
    let error = Error::from_status(&refused, client.target());

    assert_eq!((error.name(), error.metadata["request_id"].len()), ("PERMISSION_DENIED", 32));
}

#[tokio::test]
async fn tls_asks_for_the_right_certificates() {
    let papers = folder("tls");
    let maker = program().with_file_name("python");
    let made = Command::new(maker).args(["-m", "trustme", "-q", "-d", papers.to_str().unwrap()]).status().unwrap();
    assert!(made.success());
    let pem = |name: &str| std::fs::read_to_string(papers.join(name)).unwrap();
    let files = "cert_file: server.pem, key_file: server.key, client_ca_file: client.pem";
    let files = files.replace("_file: ", &format!("_file: {}/", papers.display()));
    let server = Server::start("secure", &format!("grpc: {{address: '127.0.0.1:0', tls: {{{files}}}}}"));
    let client = |tls: ClientTlsConfig| Client::builder(&*server.target).tls(tls).build().unwrap();
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem("client.pem")));

    let known = client(trusting().identity(Identity::from_pem(pem("server.pem"), pem("server.key"))));
    let answer = known.complete(to("mock-echo", "Hi")).await.unwrap();
    let strange = refused(&client(ClientTlsConfig::new().with_enabled_roots()), "mock-echo").await;
    let nobody = refused(&client(trusting()), "mock-echo").await;
    let plain = refused(&server.client(), "mock-echo").await;

    assert_eq!(answer.message.unwrap().content, "Hi");
    assert!(strange.message.contains("UnknownIssuer"), "{strange}");
    for error in [strange, nobody, plain] {
        assert_eq!(error.name(), "PROVIDER_UNAVAILABLE", "{error}");
    }
}

/// Returns the example, which cargo builds with the tests and puts beside them.
fn example() -> Command {
    let tests = std::env::current_exe().unwrap();
    Command::new(tests.parent().unwrap().with_file_name("examples").join("chat"))
}

fn chat(server: &Server, model: &str) -> Child {
    example()
        .args(["--target", &server.target, "--provider", "mock", "--model", model])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_chat_answers_each_line() {
    let server = Server::shared();
    let mut chat = chat(&server, "mock-echo");
    chat.stdin.take().unwrap().write_all("Grüße!\nYes?\n".as_bytes()).unwrap();
    let done = chat.wait_with_output().unwrap();

    assert_eq!(String::from_utf8(done.stdout).unwrap(), "> Grüße!\n> Yes?\n> ");
    assert!(done.status.success());
}

#[test]
fn the_chat_says_why_it_cannot_go_on() {
    let server = Server::shared();
    let mut chat = chat(&server, "mock-echo");
    chat.stdin.take().unwrap().write_all(b"caf\xe9\n").unwrap();
    let done = chat.wait_with_output().unwrap();

    assert_eq!(String::from_utf8(done.stdout).unwrap(), "> ");
    assert!(String::from_utf8(done.stderr).unwrap().contains("valid UTF-8"));
    assert!(!done.status.success());
}

#[test]
fn the_chat_says_in_a_line_what_is_wrong_with_its_command_line() {
    let done = example().arg("--none").output().unwrap();

    assert_eq!(String::from_utf8(done.stderr).unwrap(), "--none: there are --target, --provider and --model\n");
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn ctrl_c_stops_an_answer_of_the_chat_and_not_the_conversation() {
    let server = Server::shared();
    let mut chat = chat(&server, "mock-slow");
    chat.stdin.take().unwrap().write_all(b"Hi\n").unwrap();
    let mut begun = [0; "> Hello! ".len()];
    chat.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", chat.id())]).status().unwrap().success());
    let done = chat.wait_with_output().unwrap();

    assert_eq!(&begun, b"> Hello! ");
    assert_eq!(String::from_utf8(done.stdout).unwrap(), " (stopped)\n> ");
    assert!(done.status.success());
}
