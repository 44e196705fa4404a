package loom_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// live is the address of a loom-grpc server with the mock provider, and adminKey its administrator's key.
var (
	live     string
	adminKey = rand.Text() + rand.Text()
)

func TestMain(m *testing.M) {
	code, err := withServer(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// withServer runs the program that LOOM_TEST_PROGRAM names, or that of the project's .venv, while run does.
func withServer(run func() int) (int, error) {
	program := os.Getenv("LOOM_TEST_PROGRAM")
	if program == "" {
		program = "../../.venv/bin/loom-grpc"
	}
	folder, err := os.MkdirTemp("", "loom-go-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	server := exec.Command(program, "serve", "--grpc-address", "127.0.0.1:0", "--no-http")
	server.Env = []string{
		"PATH=" + os.Getenv("PATH"), "XDG_STATE_HOME=" + folder,
		"LOOM_ADMIN__API_KEY=" + adminKey, "LOOM_PROVIDERS__MOCK__TIMEOUTS__IDLE_S=1",
	}
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := server.Start(); err != nil {
		return 0, fmt.Errorf("the server does not start (set LOOM_TEST_PROGRAM to its command): %w", err)
	}
	if live, err = greeting(out); err != nil {
		return 0, errors.Join(err, server.Process.Kill(), server.Wait())
	}
	go io.Copy(io.Discard, out)
	code := run()
	return code, errors.Join(server.Process.Signal(syscall.SIGTERM), server.Wait())
}

// greeting reads where gRPC is served.
func greeting(out io.Reader) (string, error) {
	address := regexp.MustCompile(`^  gRPC +(\S+)`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := address.FindStringSubmatch(lines.Text()); found != nil {
			return found[1], nil
		}
	}
	return "", errors.New("the server did not say where it serves")
}

func ask(model, text string) *loompb.LlmRequest {
	request := loom.Prompt(text)
	request.Provider, request.Model = "mock", model
	return request
}

func TestAStreamIsStartedThenDeltasThenCompleted(t *testing.T) {
	t.Parallel()
	stream := connect(t, live).Stream(t.Context(), ask("mock-echo", "Grüße, 世界 🌍"))

	events, err := drain(stream)

	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, event := range events[1 : len(events)-1] {
		said.WriteString(event.GetTextDelta().GetContent())
	}
	if events[0].GetStarted().GetModel() != "mock-echo" || said.String() != "Grüße, 世界 🌍" {
		t.Errorf("events: %v", events)
	}
	last := events[len(events)-1].GetCompleted().GetResponse()
	if !proto.Equal(last, stream.Response()) || last.GetMessage().GetContent() != said.String() {
		t.Errorf("response: %v, last event: %v", stream.Response(), last)
	}
	if id := stream.Trailer().Get("loom-request-id"); len(id) != 1 || id[0] == "" {
		t.Errorf("trailers: %v", stream.Trailer())
	}
	if event, err := stream.Recv(); event != nil || err != io.EOF {
		t.Errorf("after the end: %v, %v", event, err)
	}
}

func TestOtherMethodsReturnWholeAnswersAndTrailers(t *testing.T) {
	t.Parallel()
	client := connect(t, live)
	var trailer metadata.MD

	answer, err := client.Complete(t.Context(), ask("mock-echo", "Hello!"), grpc.Trailer(&trailer))
	if err != nil || answer.GetMessage().GetContent() != "Hello!" || answer.GetStopReason() != loompb.StopReason_STOP_REASON_STOP {
		t.Errorf("complete: %v, %v", answer, err)
	}
	if provider := trailer.Get("loom-provider"); len(provider) != 1 || provider[0] != "mock" {
		t.Errorf("trailers: %v", trailer)
	}
	count, err := client.CountTokens(t.Context(), ask("mock-echo", "one two three"))
	if err != nil || count.GetInputTokens() < 3 {
		t.Errorf("count: %v, %v", count, err)
	}
	vectors, err := client.Embed(t.Context(), &loompb.EmbedRequest{Provider: "mock", Model: "mock-embed", Inputs: loom.Texts("a", "b")})
	if err != nil || len(vectors.GetEmbeddings()) != 2 {
		t.Errorf("embed: %v, %v", vectors, err)
	}
	models, err := client.ListModels(t.Context(), "mock")
	if err != nil || len(models) < 20 {
		t.Errorf("models: %v, %v", models, err)
	}
}

func TestToolCallsAreAnsweredWithTheirResults(t *testing.T) {
	t.Parallel()
	client := connect(t, live)
	request := ask("mock-words", "call get_weather")
	request.Tools = []*loompb.ToolDefinition{
		loom.Tool("get_weather", "Looks up weather", `{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`),
	}

	answer, err := client.Complete(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	calls := answer.GetToolCalls()
	if len(calls) != 1 || calls[0].GetToolName() != "get_weather" {
		t.Fatalf("tool calls: %v", calls)
	}
	request.Messages = append(request.Messages, answer.GetMessage(), loom.ToolResult(calls[0], "3 °C"))
	answer, err = client.Complete(t.Context(), request)

	if err != nil || answer.GetStopReason() != loompb.StopReason_STOP_REASON_STOP || answer.GetMessage().GetContent() == "" {
		t.Errorf("answer: %v, %v", answer, err)
	}
}

func TestEveryFailureHasItsReason(t *testing.T) {
	t.Parallel()
	client := connect(t, live)
	for _, row := range []struct {
		model, name string
		retryAfter  time.Duration
		partial     bool
	}{
		{model: "mock-429", name: "PROVIDER_RATE_LIMITED", retryAfter: time.Second},
		{model: "mock-quota", name: "PROVIDER_QUOTA_EXCEEDED"},
		{model: "mock-401", name: "PROVIDER_AUTH_FAILED"},
		{model: "mock-context", name: "CONTEXT_TOO_LONG"},
		{model: "mock-unheard-of", name: "MODEL_NOT_FOUND"},
		{model: "mock-stall", name: "PROVIDER_TIMEOUT", partial: true},
		{model: "mock-cut", name: "PROVIDER_UNAVAILABLE", partial: true},
		{model: "mock-truncated", name: "PROVIDER_BAD_RESPONSE", partial: true},
	} {
		t.Run(row.model, func(t *testing.T) {
			t.Parallel()
			stream := client.Stream(t.Context(), ask(row.model, "Hello!"))

			_, err := drain(stream)

			var failure *loom.Error
			if !errors.As(err, &failure) {
				t.Fatalf("%v is no *loom.Error", err)
			}
			wait, known := failure.RetryAfter()
			if failure.Name() != row.name || wait != row.retryAfter || known != (row.retryAfter > 0) {
				t.Errorf("%s, retry after %v (%v)", failure.Name(), wait, known)
			}
			if (failure.Partial.GetMessage().GetContent() != "") != row.partial {
				t.Errorf("partial: %v", failure.Partial)
			}
			if id := stream.Trailer().Get("loom-request-id"); len(id) != 1 || failure.Metadata["request_id"] != id[0] {
				t.Errorf("metadata: %v, trailers: %v", failure.Metadata, stream.Trailer())
			}
			if errors.Is(err, context.DeadlineExceeded) != (row.name == "PROVIDER_TIMEOUT") {
				t.Errorf("%v taken for a time limit, or not", err)
			}
		})
	}
}

func TestADeadlineEndsACallAsProviderTimeout(t *testing.T) {
	t.Parallel()
	client := connect(t, live, loom.WithTimeout(100*time.Millisecond))

	_, unary := client.Complete(t.Context(), ask("mock-slow", "Hello!"))
	_, streamed := drain(client.Stream(t.Context(), ask("mock-slow", "Hello!")))

	for _, err := range []error{unary, streamed} {
		var failure *loom.Error
		if !errors.As(err, &failure) || failure.Name() != "PROVIDER_TIMEOUT" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
}

func TestADeadlineOfTheContextReplacesTheClients(t *testing.T) {
	t.Parallel()
	client := connect(t, live, loom.WithTimeout(time.Nanosecond))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	answer, err := client.Complete(ctx, ask("mock-echo", "Hello!"))

	if err != nil || answer.GetMessage().GetContent() != "Hello!" {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestTheAdminServiceIsOnTheSameConnection(t *testing.T) {
	t.Parallel()
	admin := loompb.NewAdminServiceClient(connect(t, live).Conn())

	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+adminKey)
	_, err := admin.ListAccounts(ctx, &loompb.ListAccountsRequest{})
	if err != nil {
		t.Errorf("with the key: %v", err)
	}
	_, err = admin.ListAccounts(t.Context(), &loompb.ListAccountsRequest{})

	var failure *loom.Error
	if !errors.As(err, &failure) || failure.Name() != "UNAUTHENTICATED" {
		t.Errorf("without the key: %v", err)
	}
}
