//! Calls over one connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::codegen::http::uri::Authority;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status};

use crate::connection::{self, Connection};
use crate::error::Error;
use crate::stream::EventStream;
use crate::v1::llm_service_client::LlmServiceClient;
use crate::v1::{
    CountTokensResponse, EmbedRequest, EmbedResponse, ErrorReason, ListModelsRequest, LlmRequest, LlmResponse, Model,
};

/// Where `loom-grpc serve` listens unless told otherwise.
pub const DEFAULT_TARGET: &str = "127.0.0.1:50051";

const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
const PAGE: i32 = 1000;
/// About three years; tonic panics at what `grpc-timeout` cannot hold.
const LONGEST: Duration = Duration::from_secs(99_999_999);

/// Asks a loom-grpc server; a cheap handle of one connection, to be cloned freely.
///
/// The connection is opened by the first call, in whose tokio runtime the client stays. Dropping a call's future cancels the call, up to
/// the provider.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    target: Arc<str>,
    metadata: MetadataMap,
    timeout: Option<Duration>,
}

impl Client {
    /// Makes a client without a key and without TLS of the server at `host:port`; anything else is `INVALID_REQUEST`.
    pub fn new(target: impl Into<String>) -> Result<Self, Error> {
        Self::builder(target).build()
    }

    /// Begins a client of the server at a target, `host:port`.
    pub fn builder(target: impl Into<String>) -> Builder {
        Builder {
            target: target.into(),
            api_key: None,
            metadata: Vec::new(),
            timeout: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Makes a client on the same connection whose calls may take so long as a whole; the provider is held to it as well.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout.min(LONGEST)), ..self.clone() }
    }

    /// Makes a client on the same connection that sends this metadata too, in the place of what it sent by this name; what cannot be
    /// sent as text is `INVALID_REQUEST`.
    pub fn with_metadata(&self, name: &str, value: &str) -> Result<Self, Error> {
        let mut client = self.clone();
        insert(&mut client.metadata, name, value)?;
        Ok(client)
    }

    /// Returns the whole answer to a request, a conversation, or a prompt.
    pub async fn complete(&self, request: impl Into<LlmRequest>) -> Result<LlmResponse, Error> {
        let request = self.fitting(request.into());
        self.answer(async { self.stub().complete(request?).await }).await
    }

    /// Returns the events of the same call as they come.
    pub fn stream(&self, request: impl Into<LlmRequest>) -> EventStream {
        let mut stub = self.stub();
        let request = self.fitting(request.into());
        EventStream::new(Box::pin(async move { stub.stream(request?).await }), self.target.clone(), self.timeout)
    }

    /// Returns the number of prompt tokens of a request; `estimated` tells when the provider could not count them.
    pub async fn count_tokens(&self, request: impl Into<LlmRequest>) -> Result<CountTokensResponse, Error> {
        let request = self.fitting(request.into());
        self.answer(async { self.stub().count_tokens(request?).await }).await
    }

    /// Turns texts into vectors, in their order.
    pub async fn embed(&self, request: impl Into<EmbedRequest>) -> Result<EmbedResponse, Error> {
        let request = self.fitting(request.into());
        self.answer(async { self.stub().embed(request?).await }).await
    }

    /// Returns all models of one provider, or of all with an empty name, ordered by provider and id; the timeout is for each page.
    pub async fn list_models(&self, provider: &str) -> Result<Vec<Model>, Error> {
        let mut models = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListModelsRequest { provider: provider.to_owned(), page_size: PAGE, page_token };
            let page = self.answer(self.stub().list_models(self.request(request))).await?;
            models.extend(page.models);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(models);
            }
        }
    }

    /// The generated stub, for what the other methods do not cover; [`Client::request`] and [`Error::from_status`] go with it.
    #[must_use]
    pub fn stub(&self) -> LlmServiceClient<Connection> {
        LlmServiceClient::new(self.connection()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The connection, for the stubs of other services at the same address, such as `AdminServiceClient`.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// The address of the server.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Makes a stub's request with the client's key, metadata and timeout.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// Refuses a message over the limit, of which tonic tells the caller only that something inside has failed.
    fn fitting<M: Message>(&self, message: M) -> Result<Request<M>, Status> {
        match message.encoded_len() {
            ..=MAX_MESSAGE_BYTES => Ok(self.request(message)),
            length => {
                Err(Status::resource_exhausted(format!("{length} bytes are larger than max, {MAX_MESSAGE_BYTES}")))
            }
        }
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        // tonic's own limit ends with the answer's headers.
        let answer = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, call).await.unwrap_or(Err(Status::deadline_exceeded(""))),
            None => call.await,
        };
        answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, &self.target))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("target", &self.target).finish_non_exhaustive()
    }
}

/// What a client is made of.
#[must_use]
pub struct Builder {
    target: String,
    api_key: Option<String>,
    metadata: Vec<(String, String)>,
    timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<tonic::transport::ClientTlsConfig>,
}

impl Builder {
    /// Sends a key as `authorization: Bearer ...`, in the clear without TLS.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sends this metadata with every call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Ends every call after this time; without it a call takes as long as the server lets it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(LONGEST));
        self
    }

    /// Uses TLS: `ClientTlsConfig::new().with_enabled_roots()` trusts the system's authorities; others and a client certificate are its
    /// `ca_certificate` and `identity`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: tonic::transport::ClientTlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes the client and sends nothing yet; a target, a key, metadata or certificates that cannot be used are `INVALID_REQUEST`.
    pub fn build(self) -> Result<Client, Error> {
        host_and_port(&self.target)?;
        let connection = Connection::lazy(self.endpoint().map_err(|error| wrong("target or tls", &error))?);
        let mut metadata = MetadataMap::new();
        if let Some(key) = &self.api_key {
            metadata.insert("authorization", bearer(key)?);
        }
        for (name, value) in &self.metadata {
            insert(&mut metadata, name, value)?;
        }
        Ok(Client { connection, target: self.target.into(), metadata, timeout: self.timeout })
    }

    #[cfg(feature = "tls")]
    fn endpoint(&self) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
        let endpoint = connection::endpoint(&self.target, self.tls.is_some())?;
        match &self.tls {
            Some(tls) => endpoint.tls_config(tls.clone().timeout(connection::CONNECT_TIMEOUT)),
            None => Ok(endpoint),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn endpoint(&self) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
        connection::endpoint(&self.target, false)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Builder").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Refuses what a URI would take beside a host and a port: a path, a name and a password, and a scheme, as a host's name.
fn host_and_port(target: &str) -> Result<(), Error> {
    let authority = target.parse::<Authority>().ok().filter(|it| !it.host().is_empty() && !target.contains('@'));
    if authority.and_then(|it| it.port_u16()).is_none() {
        return Err(Error::new(ErrorReason::InvalidRequest, "target: must be host:port"));
    }
    Ok(())
}

fn bearer(key: &str) -> Result<AsciiMetadataValue, Error> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "api_key: must be printable ASCII without spaces or line breaks";
        return Err(Error::new(ErrorReason::InvalidRequest, message));
    }
    let value = format!("Bearer {key}").parse::<AsciiMetadataValue>();
    let mut value = value.map_err(|error| wrong("api_key", &error))?;
    value.set_sensitive(true); // so that its Debug shows nothing
    Ok(value)
}

fn insert(metadata: &mut MetadataMap, name: &str, value: &str) -> Result<(), Error> {
    let key = name.to_ascii_lowercase().parse::<AsciiMetadataKey>();
    let key =
        key.map_err(|_| Error::new(ErrorReason::InvalidRequest, format!("metadata: {name:?} is not a name for text")))?;
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = format!("metadata: the value of {name} must be printable ASCII");
        return Err(Error::new(ErrorReason::InvalidRequest, message));
    }
    let mut value = value.parse::<AsciiMetadataValue>().map_err(|error| wrong(name, &error))?;
    value.set_sensitive(key == "authorization"); // so that its Debug shows nothing
    metadata.insert(key, value);
    Ok(())
}

fn wrong(what: &str, error: &dyn std::error::Error) -> Error {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorReason::InvalidRequest, format!("{what}: {why}"))
}
