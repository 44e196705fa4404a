//! A chat at the terminal: `cargo run --example chat -- [--target HOST:PORT] [--provider NAME] [--model NAME]`.
//!
//! Ctrl-C stops an answer, and between answers the chat, as the end of the input does. `LOOM_API_KEY` is the key, where the server wants one.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use loom_grpc::{Client, DEFAULT_TARGET, Event, LlmRequest, Message, user};
use tokio::signal::ctrl_c;
use tokio::sync::{Notify, mpsc};

type Failure = Box<dyn std::error::Error>;
type Line = std::io::Result<String>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match chat().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}"); // what `main` returns would be printed as Rust writes it in code
            ExitCode::from(2)
        }
    }
}

async fn chat() -> Result<(), Failure> {
    let (target, mut request) = arguments(std::env::args().skip(1))?;
    let mut client = Client::builder(target);
    if let Some(key) = std::env::var("LOOM_API_KEY").ok().filter(|key| !key.is_empty()) {
        client = client.api_key(key);
    }
    let client = client.build()?;
    let mut lines = lines();
    let stop = stop();
    while let Some(line) = ask(&mut lines, &stop).await? {
        request.messages.push(user(line));
        match answer(&client, &request, &stop).await {
            Ok(Some(message)) => request.messages.push(message),
            Ok(None) => {
                request.messages.pop(); // the question goes with its answer
                println!(" (stopped)");
            }
            Err(error) => {
                request.messages.pop();
                eprintln!("\n{error}"); // in a line of its own, whatever had arrived
            }
        }
    }
    Ok(())
}

/// Prints an answer as it comes and returns it; None when Ctrl-C stopped it, for dropping the stream cancels the call.
async fn answer(client: &Client, request: &LlmRequest, stop: &Notify) -> Result<Option<Message>, Failure> {
    let mut events = client.stream(request.clone());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.notified() => return Ok(None),
        };
        match event.transpose()?.map(|event| event.event) {
            Some(Some(Event::TextDelta(delta))) => print!("{}", delta.content),
            Some(_) => continue,
            None => break,
        }
        stdout().flush()?;
    }
    println!();
    Ok(events.response().and_then(|response| response.message.clone()))
}

async fn ask(lines: &mut mpsc::Receiver<Line>, stop: &Notify) -> std::io::Result<Option<String>> {
    print!("> ");
    stdout().flush()?;
    tokio::select! {
        line = lines.recv() => line.transpose(),
        () = stop.notified() => Ok(None),
    }
}

/// Listens for Ctrl-C all the time: one that comes between two waits is not lost.
fn stop() -> Arc<Notify> {
    let stop = Arc::new(Notify::new());
    let told = stop.clone();
    tokio::spawn(async move {
        while ctrl_c().await.is_ok() {
            told.notify_one();
        }
    });
    stop
}

/// Reads lines in a thread of its own, for which the end of the program does not wait.
fn lines() -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<(String, LlmRequest), String> {
    let mut target = DEFAULT_TARGET.to_owned();
    let mut request = LlmRequest::default();
    while let Some(name) = given.next() {
        let place = match &*name {
            "--target" => &mut target,
            "--provider" => &mut request.provider,
            "--model" => &mut request.model,
            _ => return Err(format!("{name}: there are --target, --provider and --model")),
        };
        *place = given.next().ok_or(format!("{name} wants a value"))?;
    }
    Ok((target, request))
}
