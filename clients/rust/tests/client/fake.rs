//! A server that answers every call by a script, frame by frame.

use std::collections::HashMap;

use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, Response};
use loom_grpc::Client;
use loom_grpc::tonic::{Code, Status};
use loom_grpc::v1::llm_event::Event;
use loom_grpc::v1::{Completed, LlmEvent, LlmResponse, TextDelta};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic_types::{ErrorDetails, StatusExt};

type Data = Vec<u8>;

/// One thing that the server does.
#[derive(Clone)]
pub enum Act {
    /// Begins the answer with this HTTP status, content type and other headers.
    Begin(u16, &'static str, Vec<(&'static str, String)>),
    /// Sends bytes.
    Send(Data),
    /// Ends the answer with trailers, or without any.
    End(Vec<(&'static str, String)>),
    /// Resets the stream.
    Reset(Reason),
    /// Waits until the client resets the stream, and reports with which reason.
    AwaitReset,
    /// Closes the connection.
    Hang,
}

/// What the server saw: the headers of a call, then the reason of a reset.
#[derive(Debug)]
pub enum Seen {
    Call(HeaderMap, Data),
    Reset(Reason),
}

/// A server that is gone when this is dropped.
pub struct Fake {
    pub target: String,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

pub const BEGIN: Act = Act::Begin(200, "application/grpc", Vec::new());
pub const STOP: Act = Act::End(Vec::new());

/// Ends the answer with trailers.
pub fn end<const N: usize>(trailers: [(&'static str, &str); N]) -> Act {
    Act::End(pairs(trailers))
}

pub fn pairs<const N: usize>(pairs: [(&'static str, &str); N]) -> Vec<(&'static str, String)> {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Ends the answer well.
pub fn ok() -> Act {
    end([("grpc-status", "0")])
}

/// Ends the answer with a status whose details name a reason.
pub fn fail(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Act {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let details = ErrorDetails::with_error_info(reason, "loom-grpc", metadata);
    let mut headers = HeaderMap::new();
    Status::with_error_details(code, "busy.", details).add_header(&mut headers).unwrap();
    let text = |name: &'static str| (name, headers[name].to_str().unwrap().to_owned());
    Act::End(["grpc-status", "grpc-message", "grpc-status-details-bin"].map(text).to_vec())
}

impl Fake {
    /// Answers the first call by the first script, and every call after the last by the last.
    pub async fn with(scripts: Vec<Vec<Act>>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), scripts)
    }

    pub fn on(listener: TcpListener, scripts: Vec<Vec<Act>>) -> Self {
        let target = listener.local_addr().unwrap().to_string();
        let (report, seen) = mpsc::unbounded_channel();
        Self { target, seen, task: tokio::spawn(serve(listener, scripts, report)) }
    }

    pub async fn saying(script: Vec<Act>) -> Self {
        Self::with(vec![script]).await
    }

    /// Says these bytes to whoever connects, and hangs up.
    pub async fn shouting(bytes: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1024]).await;
                socket.write_all(bytes).await.unwrap();
            }
        });
        Self { target, seen: mpsc::unbounded_channel().1, task }
    }

    pub fn client(&self) -> Client {
        Client::new(&*self.target).unwrap()
    }

    pub async fn call(&mut self) -> (HeaderMap, Data) {
        match self.seen.recv().await.unwrap() {
            Seen::Call(headers, message) => (headers, message),
            other @ Seen::Reset(_) => panic!("{other:?}"),
        }
    }

    pub async fn reset(&mut self) -> Reason {
        match self.seen.recv().await.unwrap() {
            Seen::Reset(reason) => reason,
            other @ Seen::Call(..) => panic!("{other:?}"),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Frames a message as gRPC does.
pub fn message(message: &impl Message) -> Act {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    Act::Send([&[0][..], &length, &bytes].concat())
}

pub fn event(event: Event) -> LlmEvent {
    LlmEvent { event: Some(event), ..Default::default() }
}

pub fn text(content: &str) -> LlmEvent {
    event(Event::TextDelta(TextDelta { content: content.to_owned() }))
}

pub fn completed(id: &str) -> LlmEvent {
    event(Event::Completed(Completed { response: Some(answer(id)) }))
}

pub fn answer(id: &str) -> LlmResponse {
    LlmResponse { id: id.to_owned(), ..Default::default() }
}

async fn serve(listener: TcpListener, scripts: Vec<Vec<Act>>, report: mpsc::UnboundedSender<Seen>) {
    let mut number = 0;
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let Ok(mut connection) = h2::server::handshake(socket).await else { continue };
        let (hang, mut end) = mpsc::channel(1);
        loop {
            let call = tokio::select! {
                call = connection.accept() => call,
                _ = end.recv() => None,
            };
            let Some(Ok((request, respond))) = call else { break };
            let script = scripts[number.min(scripts.len() - 1)].clone();
            number += 1;
            tokio::spawn(play(script, request, respond, report.clone(), hang.clone()));
        }
    }
}

async fn play(
    script: Vec<Act>,
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<bytes::Bytes>,
    report: mpsc::UnboundedSender<Seen>,
    hang: mpsc::Sender<()>,
) {
    let (head, mut body) = request.into_parts();
    let mut sent = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        body.flow_control().release_capacity(chunk.len()).unwrap();
        sent.extend_from_slice(&chunk);
    }
    let _ = report.send(Seen::Call(head.headers, sent.split_off(5.min(sent.len()))));
    let mut stream: Option<SendStream<bytes::Bytes>> = None;
    for act in script {
        match (act, &mut stream) {
            (Act::Begin(status, kind, headers), none) => {
                let mut answer = Response::builder().status(status).header("content-type", kind);
                *answer.headers_mut().unwrap() = headers_of(&headers, answer.headers_ref().unwrap());
                *none = Some(respond.send_response(answer.body(()).unwrap(), false).unwrap());
            }
            (Act::Send(data), Some(stream)) => stream.send_data(data.into(), false).unwrap(),
            (Act::End(none), Some(stream)) if none.is_empty() => stream.send_data(bytes::Bytes::new(), true).unwrap(),
            (Act::End(trailers), Some(stream)) => {
                stream.send_trailers(headers_of(&trailers, &HeaderMap::new())).unwrap();
            }
            (Act::Reset(reason), Some(stream)) => stream.send_reset(reason),
            (Act::AwaitReset, Some(stream)) => {
                let reason = std::future::poll_fn(|context| stream.poll_reset(context)).await;
                let _ = report.send(Seen::Reset(reason.unwrap()));
            }
            (Act::Hang, _) => hang.send(()).await.unwrap(),
            (_, None) => panic!("the answer has not begun"),
        }
    }
}

fn headers_of(pairs: &[(&'static str, String)], more: &HeaderMap) -> HeaderMap {
    let mut headers = more.clone();
    for (name, value) in pairs {
        headers.insert(*name, value.parse().unwrap());
    }
    headers
}
