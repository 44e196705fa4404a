//! Short ways to write messages and requests.

use crate::v1::{
    EmbedInput, EmbedRequest, LlmRequest, Media, Message, Part, Role, ToolCall, ToolDefinition, embed_input, media,
    part,
};

/// Makes a message of the application's instructions.
pub fn system(text: impl Into<String>) -> Message {
    plain(Role::System, text)
}

/// Makes a message of the user's; `user("Look:").with(image(png, "image/png"))` has parts beside the text.
pub fn user(text: impl Into<String>) -> Message {
    plain(Role::User, text)
}

/// Makes a message of the model's; an answer's own `message` is one as it is.
pub fn assistant(text: impl Into<String>) -> Message {
    plain(Role::Assistant, text)
}

/// Makes the message that answers a tool call; set its `is_error` when the tool failed and the content says how.
pub fn tool_result(call: &ToolCall, content: impl Into<String>) -> Message {
    let tool_call_id = call.id.clone();
    Message { tool_call_id, name: call.tool_name.clone(), ..plain(Role::Tool, content) }
}

/// Makes a tool that the model may call; the schema of its arguments is a JSON Schema.
pub fn tool(
    name: impl Into<String>,
    description: impl Into<String>,
    input_schema_json: impl Into<String>,
) -> ToolDefinition {
    ToolDefinition {
        name: name.into(),
        description: description.into(),
        input_schema_json: input_schema_json.into(),
        ..Default::default()
    }
}

/// Makes a part of a picture: its address (a text), or its bytes with their media type, such as `image/png`.
pub fn image(source: impl Into<media::Source>, media_type: impl Into<String>) -> Part {
    part::Kind::Image(file(source, media_type)).into()
}

/// Makes a part of a document: its address (a text), or its bytes with their media type, such as `application/pdf`.
pub fn document(source: impl Into<media::Source>, media_type: impl Into<String>) -> Part {
    part::Kind::Document(file(source, media_type)).into()
}

impl Message {
    /// Adds a part; the plain text so far becomes the first.
    #[must_use]
    pub fn with(mut self, part: impl Into<Part>) -> Self {
        if self.parts.is_empty() && !self.content.is_empty() {
            self.parts.push(part::Kind::Text(std::mem::take(&mut self.content)).into());
        }
        self.parts.push(part.into());
        self
    }
}

impl From<part::Kind> for Part {
    fn from(kind: part::Kind) -> Self {
        Self { kind: Some(kind), ..Default::default() }
    }
}

impl From<&str> for media::Source {
    fn from(url: &str) -> Self {
        Self::Url(url.to_owned())
    }
}

impl From<&[u8]> for media::Source {
    fn from(data: &[u8]) -> Self {
        Self::Data(data.to_owned())
    }
}

impl From<Vec<u8>> for media::Source {
    fn from(data: Vec<u8>) -> Self {
        Self::Data(data)
    }
}

impl From<&str> for LlmRequest {
    /// Asks with one user message.
    fn from(prompt: &str) -> Self {
        user(prompt).into()
    }
}

impl From<String> for LlmRequest {
    /// Asks with one user message.
    fn from(prompt: String) -> Self {
        user(prompt).into()
    }
}

impl From<Message> for LlmRequest {
    /// Asks with one message.
    fn from(message: Message) -> Self {
        vec![message].into()
    }
}

impl From<Vec<Message>> for LlmRequest {
    /// Asks with a conversation.
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ..Default::default() }
    }
}

impl<const N: usize> From<[&str; N]> for EmbedRequest {
    /// Asks for a vector of each text.
    fn from(texts: [&str; N]) -> Self {
        texts.into_iter().collect()
    }
}

impl<T: Into<String>> FromIterator<T> for EmbedRequest {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let input = |text: T| EmbedInput { kind: Some(embed_input::Kind::Text(text.into())) };
        Self { inputs: texts.into_iter().map(input).collect(), ..Default::default() }
    }
}

fn plain(role: Role, text: impl Into<String>) -> Message {
    Message { role: role.into(), content: text.into(), ..Default::default() }
}

fn file(source: impl Into<media::Source>, media_type: impl Into<String>) -> Media {
    Media { source: Some(source.into()), media_type: media_type.into(), ..Default::default() }
}
