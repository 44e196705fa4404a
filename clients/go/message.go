package loom

import "github.com/loom-grpc/loom-grpc/clients/go/loompb"

// Prompt makes a request of one user message; its other fields can be set on it.
func Prompt(text string) *loompb.LlmRequest {
	return &loompb.LlmRequest{Messages: []*loompb.Message{User(text)}}
}

// System makes a message of the application's instructions.
func System(text string) *loompb.Message {
	return &loompb.Message{Role: loompb.Role_ROLE_SYSTEM, Content: text}
}

// User makes a message of the user's: of text, and of parts such as [ImageData] after it.
func User(text string, parts ...*loompb.Part) *loompb.Message {
	if len(parts) == 0 {
		return &loompb.Message{Role: loompb.Role_ROLE_USER, Content: text}
	}
	if text != "" {
		parts = append([]*loompb.Part{Text(text)}, parts...)
	}
	return &loompb.Message{Role: loompb.Role_ROLE_USER, Parts: parts}
}

// Assistant makes a message of the model's; an answer's own Message is one as it is.
func Assistant(text string) *loompb.Message {
	return &loompb.Message{Role: loompb.Role_ROLE_ASSISTANT, Content: text}
}

// Tool makes a tool that the model may call; the JSON Schema of its arguments is given as text.
func Tool(name, description, inputSchemaJSON string) *loompb.ToolDefinition {
	return &loompb.ToolDefinition{Name: name, Description: description, InputSchemaJson: inputSchemaJSON}
}

// ToolResult makes the message that answers a tool call.
func ToolResult(call *loompb.ToolCall, content string) *loompb.Message {
	return &loompb.Message{
		Role: loompb.Role_ROLE_TOOL, Content: content, ToolCallId: call.GetId(), Name: call.GetToolName(),
	}
}

// ToolFailure makes the message that tells why a tool call failed.
func ToolFailure(call *loompb.ToolCall, content string) *loompb.Message {
	message := ToolResult(call, content)
	message.IsError = true
	return message
}

// Text makes a part of text, for messages where text stands between other parts.
func Text(text string) *loompb.Part {
	return &loompb.Part{Kind: &loompb.Part_Text{Text: text}}
}

// ImageURL makes a part of a picture that the provider fetches.
func ImageURL(url string) *loompb.Part {
	return &loompb.Part{Kind: &loompb.Part_Image{Image: address(url)}}
}

// ImageData makes a part of a picture's bytes, with their media type, such as image/png.
func ImageData(data []byte, mediaType string) *loompb.Part {
	return &loompb.Part{Kind: &loompb.Part_Image{Image: file(data, mediaType, "")}}
}

// DocumentURL makes a part of a document that the provider fetches.
func DocumentURL(url string) *loompb.Part {
	return &loompb.Part{Kind: &loompb.Part_Document{Document: address(url)}}
}

// DocumentData makes a part of a document's bytes, with their media type, such as application/pdf, and a name, which may be empty.
func DocumentData(data []byte, mediaType, name string) *loompb.Part {
	return &loompb.Part{Kind: &loompb.Part_Document{Document: file(data, mediaType, name)}}
}

// Texts makes the inputs of an embedding.
func Texts(texts ...string) []*loompb.EmbedInput {
	inputs := make([]*loompb.EmbedInput, len(texts))
	for i, text := range texts {
		inputs[i] = &loompb.EmbedInput{Kind: &loompb.EmbedInput_Text{Text: text}}
	}
	return inputs
}

func address(url string) *loompb.Media {
	return &loompb.Media{Source: &loompb.Media_Url{Url: url}}
}

func file(data []byte, mediaType, name string) *loompb.Media {
	return &loompb.Media{Source: &loompb.Media_Data{Data: data}, MediaType: mediaType, Name: name}
}
