#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod client;
mod connection;
mod error;
mod message;
mod stream;
/// The messages and stubs of `proto/`, as they are generated.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::invalid_html_tags, rustdoc::bare_urls)]
pub mod v1;

pub use tonic;

#[cfg(feature = "tls")]
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub use crate::client::{Builder, Client, DEFAULT_TARGET};
pub use crate::connection::Connection;
pub use crate::error::Error;
pub use crate::message::{assistant, document, image, system, tool, tool_result, user};
pub use crate::stream::EventStream;
pub use crate::v1::llm_event::Event;
pub use crate::v1::{
    CountTokensResponse, EmbedRequest, EmbedResponse, ErrorReason, LlmEvent, LlmRequest, LlmResponse, Message, Model,
    Part, StopReason, ToolCall, ToolDefinition,
};
