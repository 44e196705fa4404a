package loom_test

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

func TestShortFormsMakeMessages(t *testing.T) {
	t.Parallel()
	call := &loompb.ToolCall{Id: "c1", ToolName: "weather"}
	for want, made := range map[string]proto.Message{
		`{"messages": [{"role": "ROLE_USER", "content": "Hi"}]}`: loom.Prompt("Hi"),
		`{"role": "ROLE_SYSTEM", "content": "Be brief."}`:        loom.System("Be brief."),
		`{"role": "ROLE_ASSISTANT", "content": "Hi"}`:            loom.Assistant("Hi"),
		`{"role": "ROLE_USER", "parts": [{"text": "Look:"}, {"image": {"data": "AQ==", "mediaType": "image/png"}}]}`: loom.User(
			"Look:", loom.ImageData([]byte{1}, "image/png"),
		),
		`{"role": "ROLE_USER", "parts": [{"image": {"url": "https://a/b.png"}}, {"document": {"url": "https://a/b.pdf"}}, {"document": {"data": "AQ==", "mediaType": "text/plain", "name": "n"}}]}`: loom.User(
			"", loom.ImageURL("https://a/b.png"), loom.DocumentURL("https://a/b.pdf"), loom.DocumentData([]byte{1}, "text/plain", "n"),
		),
		`{"name": "weather", "description": "Looks up weather", "inputSchemaJson": "{}"}`:                          loom.Tool("weather", "Looks up weather", "{}"),
		`{"role": "ROLE_TOOL", "content": "3 °C", "toolCallId": "c1", "name": "weather"}`:                          loom.ToolResult(call, "3 °C"),
		`{"role": "ROLE_TOOL", "content": "no such city", "toolCallId": "c1", "name": "weather", "isError": true}`: loom.ToolFailure(call, "no such city"),
		`{"inputs": [{"text": "a"}, {"text": "b"}]}`:                                                               &loompb.EmbedRequest{Inputs: loom.Texts("a", "b")},
	} {
		expected := made.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal([]byte(want), expected); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(made, expected) {
			t.Errorf("made %v, not %s", made, want)
		}
	}
}
