//! Carries out conformance cases: a JSON object a line on stdin, what came of it as a JSON object a line on stdout.

use std::collections::HashMap;
use std::future::pending;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loom_grpc::{Certificate, Client, ClientTlsConfig, Error, Identity};
use prost::Message;
use serde_json::{Map, Value, json};

type Clients = HashMap<String, Client>;
type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut clients = Clients::new();
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let case: Value = serde_json::from_str(&line?)?;
        let began = Instant::now();
        let mut result = carry_out(&mut clients, &case).await.unwrap_or_else(|failure| {
            let failed = Value::from(failure.to_string());
            Map::from_iter([("failed".to_owned(), failed)])
        });
        result.insert("name".to_owned(), case["name"].clone());
        result.insert("elapsed_ms".to_owned(), json!(began.elapsed().as_secs_f64() * 1000.0));
        let mut out = stdout().lock();
        writeln!(out, "{}", Value::Object(result))?;
        out.flush()?;
    }
    Ok(())
}

/// Reads in a thread of its own: the connections live on while nothing comes.
fn lines() -> tokio::sync::mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn carry_out(clients: &mut Clients, case: &Value) -> Result<Map<String, Value>, Failure> {
    let client = for_call(kept(clients, case)?, case)?;
    let mut told = Told::default();
    let cancelled = tokio::select! {
        biased;
        asked = ask(&client, case, &mut told) => asked?,
        () = cancelling(case) => true,
    };
    let mut result = told.into_json();
    result.insert("cancelled".to_owned(), cancelled.into());
    Ok(result)
}

/// Returns the client of the case's connection, which is made when it is the first.
fn kept(clients: &mut Clients, case: &Value) -> Result<Client, Failure> {
    let connection = json!([case["target"], case["tls"], case["api_key"]]).to_string();
    if let Some(client) = clients.get(&connection) {
        return Ok(client.clone());
    }
    let mut builder = Client::builder(text(&case["target"])?);
    if let Some(key) = case["api_key"].as_str() {
        builder = builder.api_key(key);
    }
    if case["tls"].is_object() {
        builder = builder.tls(tls(&case["tls"])?);
    }
    let client = builder.build()?;
    clients.insert(connection, client.clone());
    Ok(client)
}

fn tls(settings: &Value) -> Result<ClientTlsConfig, Failure> {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(text(&settings["ca"])?));
    Ok(match (settings["cert"].as_str(), settings["key"].as_str()) {
        (Some(cert), Some(key)) => config.identity(Identity::from_pem(cert, key)),
        _ => config,
    })
}

fn for_call(mut client: Client, case: &Value) -> Result<Client, Failure> {
    for (name, value) in case["metadata"].as_object().into_iter().flatten() {
        client = client.with_metadata(name, text(value)?)?;
    }
    Ok(match case["timeout_ms"].as_u64() {
        Some(timeout) => client.with_timeout(Duration::from_millis(timeout)),
        None => client,
    })
}

/// What a call told so far.
#[derive(Default)]
struct Told {
    response: Option<Vec<u8>>,
    events: Option<Vec<Vec<u8>>>,
    error: Option<Error>,
    trailers: Value,
}

impl Told {
    fn into_json(self) -> Map<String, Value> {
        let mut result = Map::new();
        result.insert("response".to_owned(), self.response.map(|bytes| STANDARD.encode(bytes)).into());
        if let Some(events) = self.events {
            let events: Vec<String> = events.iter().map(|event| STANDARD.encode(event)).collect();
            result.insert("events".to_owned(), events.into());
        }
        result.insert("error".to_owned(), self.error.map_or(Value::Null, |error| error_json(&error)));
        result.insert("trailers".to_owned(), if self.trailers.is_null() { json!({}) } else { self.trailers });
        result
    }

    fn keep<M: Message>(&mut self, answer: Result<M, Error>) {
        match answer {
            Ok(response) => self.response = Some(response.encode_to_vec()),
            Err(error) => self.error = Some(error),
        }
    }
}

fn error_json(error: &Error) -> Value {
    json!({
        "reason": error.name(),
        "message": error.message,
        "retry_after_ms": error.retry_after.map(|time| time.as_secs_f64() * 1000.0),
        "metadata": error.metadata,
        "partial": error.partial.as_ref().map(|partial| STANDARD.encode(partial.encode_to_vec())),
    })
}

/// Asks what the case asks, and tells whether it was left early.
async fn ask(client: &Client, case: &Value, told: &mut Told) -> Result<bool, Failure> {
    let request = STANDARD.decode(text(&case["request"])?)?;
    match text(&case["method"])? {
        "complete" => told.keep(client.complete(loom_grpc::LlmRequest::decode(&*request)?).await),
        "count_tokens" => told.keep(client.count_tokens(loom_grpc::LlmRequest::decode(&*request)?).await),
        "embed" => told.keep(client.embed(loom_grpc::EmbedRequest::decode(&*request)?).await),
        "list_models" => {
            let models = client.list_models("").await;
            told.keep(models.map(|models| loom_grpc::v1::ListModelsResponse { models, ..Default::default() }));
        }
        "stream" => return stream(client, case, loom_grpc::LlmRequest::decode(&*request)?, told).await,
        method => return Err(format!("there is no method {method:?}").into()),
    }
    Ok(false)
}

async fn stream(
    client: &Client,
    case: &Value,
    request: loom_grpc::LlmRequest,
    told: &mut Told,
) -> Result<bool, Failure> {
    let enough = case["cancel_after_events"].as_u64().map(usize::try_from).transpose()?;
    let mut events = client.stream(request);
    let seen = told.events.insert(Vec::new());
    while enough.is_none_or(|enough| seen.len() < enough) {
        match events.next().await {
            Some(Ok(event)) => seen.push(event.encode_to_vec()),
            Some(Err(error)) => told.error = Some(error),
            None => {
                told.response = events.response().map(Message::encode_to_vec);
                told.trailers = json!(events.trailers());
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn cancelling(case: &Value) {
    match case["cancel_after_ms"].as_u64() {
        Some(time) => tokio::time::sleep(Duration::from_millis(time)).await,
        None => pending().await,
    }
}

fn text(value: &Value) -> Result<&str, Failure> {
    value.as_str().ok_or_else(|| format!("not a text: {value}").into())
}
