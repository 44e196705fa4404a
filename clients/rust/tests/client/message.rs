//! The short ways to write messages and requests.

use loom_grpc::v1::{EmbedInput, Media, Role, embed_input, media, part};
use loom_grpc::{
    EmbedRequest, LlmRequest, Message, Part, ToolCall, ToolDefinition, assistant, document, image, system, tool,
    tool_result, user,
};

fn plain(role: Role, content: &str) -> Message {
    Message { role: role.into(), content: content.to_owned(), ..Default::default() }
}

fn file(source: media::Source, media_type: &str) -> Media {
    Media { source: Some(source), media_type: media_type.to_owned(), ..Default::default() }
}

#[test]
fn texts_become_messages_of_their_roles() {
    assert_eq!(system("a"), plain(Role::System, "a"));
    assert_eq!(user("b"), plain(Role::User, "b"));
    assert_eq!(assistant("c"), plain(Role::Assistant, "c"));
}

#[test]
fn parts_come_after_the_text() {
    let message = user("Look:").with(image(&[1, 2][..], "image/png")).with(document("https://example.com/a.pdf", ""));

    let part = |kind| Part { kind: Some(kind), ..Default::default() };
    let parts = vec![
        part(part::Kind::Text("Look:".into())),
        part(part::Kind::Image(file(media::Source::Data(vec![1, 2]), "image/png"))),
        part(part::Kind::Document(file(media::Source::Url("https://example.com/a.pdf".into()), ""))),
    ];
    assert_eq!(message, Message { parts, ..plain(Role::User, "") });
}

#[test]
fn a_tool_and_its_result_name_each_other() {
    let call = ToolCall { id: "c1".into(), tool_name: "weather".into(), ..Default::default() };

    let defined = tool("weather", "Looks up weather", r#"{"type": "object"}"#);
    let result = tool_result(&call, "3 °C");

    let expected = ToolDefinition {
        name: "weather".into(),
        description: "Looks up weather".into(),
        input_schema_json: r#"{"type": "object"}"#.into(),
        strict: None,
    };
    assert_eq!(defined, expected);
    let expected = Message { tool_call_id: "c1".into(), name: "weather".into(), ..plain(Role::Tool, "3 °C") };
    assert_eq!(result, expected);
}

#[test]
fn prompts_messages_and_conversations_become_requests() {
    let asked = |messages| LlmRequest { messages, ..Default::default() };

    assert_eq!(LlmRequest::from("a"), asked(vec![user("a")]));
    assert_eq!(LlmRequest::from("a".to_owned()), asked(vec![user("a")]));
    assert_eq!(LlmRequest::from(system("a")), asked(vec![system("a")]));
    assert_eq!(LlmRequest::from(vec![system("a"), user("b")]), asked(vec![system("a"), user("b")]));
}

#[test]
fn texts_become_inputs_of_an_embedding() {
    let input = |text: &str| EmbedInput { kind: Some(embed_input::Kind::Text(text.to_owned())) };

    assert_eq!(EmbedRequest::from(["a", "b"]).inputs, [input("a"), input("b")]);
    assert_eq!(["a".to_owned()].into_iter().collect::<EmbedRequest>().inputs, [input("a")]);
}
