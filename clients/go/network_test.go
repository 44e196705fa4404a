package loom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

const page = "<html><body>Bad Gateway</body></html>"

// bothWays returns what a unary and a streamed call fail with.
func bothWays(t *testing.T, client *loom.Client) []*loom.Error {
	t.Helper()
	_, unary := client.Complete(t.Context(), loom.Prompt("Hello!"))
	_, streamed := drain(client.Stream(t.Context(), loom.Prompt("Hello!")))
	failures := make([]*loom.Error, 2)
	for i, err := range []error{unary, streamed} {
		if !errors.As(err, &failures[i]) {
			t.Fatalf("%v is no *loom.Error", err)
		}
	}
	return failures
}

func TestAPortWhereNobodyListensIsUnavailable(t *testing.T) {
	t.Parallel()
	listener := listen(t, "127.0.0.1:0")
	target := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}

	for _, failure := range bothWays(t, connect(t, target)) {
		if failure.Name() != "PROVIDER_UNAVAILABLE" || failure.Metadata["target"] != target ||
			failure.Metadata["grpc_code"] != "UNAVAILABLE" || !strings.Contains(failure.Message, target) {
			t.Errorf("got %v %v", failure, failure.Metadata)
		}
	}
}

func TestAServerThatSaysNothingIsUnavailable(t *testing.T) {
	t.Parallel()
	listener := listen(t, "127.0.0.1:0")
	defer listener.Close()

	_, err := connect(t, listener.Addr().String()).Complete(t.Context(), loom.Prompt("Hello!"))

	var failure *loom.Error
	if !errors.As(err, &failure) || failure.Name() != "PROVIDER_UNAVAILABLE" {
		t.Errorf("got %v", err)
	}
}

func TestAProxyThatAnswersHTMLIsAnError(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		protocol func(*http.Protocols)
		status   int
		reason   string
	}{
		"HTTP/1.1": {func(p *http.Protocols) { p.SetHTTP1(true) }, http.StatusBadGateway, "PROVIDER_UNAVAILABLE"},
		"HTTP/2":   {func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, http.StatusBadGateway, "PROVIDER_UNAVAILABLE"},
		"success":  {func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, http.StatusOK, "INTERNAL"},
		"login":    {func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, http.StatusUnauthorized, "UNAUTHENTICATED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			protocols := &http.Protocols{}
			row.protocol(protocols)

			for _, failure := range bothWays(t, connect(t, htmlServer(t, protocols, row.status))) {
				if failure.Name() != row.reason || strings.Contains(failure.Message, "<html>") {
					t.Errorf("got %v", failure)
				}
			}
		})
	}
}

func htmlServer(t *testing.T, protocols *http.Protocols, status int) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	server := &http.Server{
		Protocols: protocols,
		Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "text/html")
			out.WriteHeader(status)
			if _, err := io.WriteString(out, page); err != nil {
				t.Error(err)
			}
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return listener.Addr().String()
}

func TestAServerThatGoesAwayInMidStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	server, address := serve(t, holding(started(), text("Hel")))

	var events int
	var last error
	for _, err := range connect(t, address).Stream(t.Context(), loom.Prompt("Hello!")).Events() {
		if last = err; err == nil {
			events++
		}
		if events == 2 {
			go server.Stop()
		}
	}

	var failure *loom.Error
	if !errors.As(last, &failure) || failure.Name() != "PROVIDER_UNAVAILABLE" || events != 2 {
		t.Errorf("got %v after %d events", last, events)
	}
}

func TestTheConnectionComesBackWithTheServer(t *testing.T) {
	t.Parallel()
	service := otherServer{complete: func(context.Context, *loompb.LlmRequest) (*loompb.LlmResponse, error) {
		return &loompb.LlmResponse{Id: "1"}, nil
	}}
	server, address := serveAt(t, freePort(t), service)
	client := connect(t, address)
	if _, err := client.Complete(t.Context(), loom.Prompt("Hello!")); err != nil {
		t.Fatal(err)
	}

	server.Stop()
	for _, failure := range bothWays(t, client) {
		if failure.Name() != "PROVIDER_UNAVAILABLE" {
			t.Errorf("while it is away: %v", failure)
		}
	}
	serveAt(t, address, service)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := client.Complete(ctx, loom.Prompt("Hello!"), grpc.WaitForReady(true))

	if err != nil || answer.GetId() != "1" {
		t.Errorf("got %v, %v", answer, err)
	}
}

// freePort returns an address that stays free while its server is down: below those that systems give to connections (Linux: from 32768).
func freePort(t *testing.T) string {
	t.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(20_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			return address
		}
	}
}

func TestAStatusOfAnotherServerIsNamedForWhatItIs(t *testing.T) {
	t.Parallel()
	for code, reason := range map[codes.Code]string{
		codes.Canceled:          "PROVIDER_UNAVAILABLE",
		codes.Unavailable:       "PROVIDER_UNAVAILABLE",
		codes.DeadlineExceeded:  "PROVIDER_TIMEOUT",
		codes.InvalidArgument:   "INVALID_REQUEST",
		codes.ResourceExhausted: "RATE_LIMITED",
		codes.Unauthenticated:   "UNAUTHENTICATED",
		codes.PermissionDenied:  "PERMISSION_DENIED",
		codes.Unimplemented:     "INTERNAL",
		codes.Unknown:           "INTERNAL",
		codes.Code(99):          "INTERNAL",
	} {
		service := streamOf(status.Error(code, "words"), started())
		service.complete = func(context.Context, *loompb.LlmRequest) (*loompb.LlmResponse, error) {
			return nil, status.Error(code, "words")
		}
		_, address := serve(t, service)

		for _, failure := range bothWays(t, connect(t, address)) {
			if failure.Name() != reason || status.Code(failure) != code {
				t.Errorf("%v: %v", code, failure)
			}
		}
	}
}

func TestDetailsOfAnotherProgramAreNoObstacle(t *testing.T) {
	t.Parallel()
	service := otherServer{complete: func(ctx context.Context, _ *loompb.LlmRequest) (*loompb.LlmResponse, error) {
		if err := grpc.SetTrailer(ctx, metadata.Pairs("grpc-status-details-bin", "\xffnot a status")); err != nil {
			return nil, err
		}
		return nil, status.Error(codes.ResourceExhausted, "words")
	}}
	_, address := serve(t, service)

	_, err := connect(t, address).Complete(t.Context(), loom.Prompt("Hello!"))

	var failure *loom.Error
	if !errors.As(err, &failure) || failure.Name() != "RATE_LIMITED" {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatCannotBeReadIsInternal(t *testing.T) {
	t.Parallel()
	service := streamOf(nil, started())
	service.complete = func(context.Context, *loompb.LlmRequest) (*loompb.LlmResponse, error) { return nil, nil }
	_, address := serve(t, service, grpc.ForceServerCodec(garbage{}))

	for _, failure := range bothWays(t, connect(t, address)) {
		if failure.Name() != "INTERNAL" || failure.Metadata["grpc_code"] != "INTERNAL" {
			t.Errorf("got %v %v", failure, failure.Metadata)
		}
	}
}

// garbage is the codec of a server that sends what is no message.
type garbage struct{}

func (garbage) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff, 0xff, 0xff}, nil }
func (garbage) Unmarshal([]byte, any) error { return nil }
func (garbage) Name() string                { return "proto" }

func TestMessagesMayHave64MiBBothWaysAndNoMore(t *testing.T) {
	t.Parallel()
	service := otherServer{complete: func(_ context.Context, request *loompb.LlmRequest) (*loompb.LlmResponse, error) {
		return &loompb.LlmResponse{Message: request.GetMessages()[0]}, nil
	}}
	_, address := serve(t, service)
	client := connect(t, address)

	answer, err := client.Complete(t.Context(), loom.Prompt(strings.Repeat("x", 32<<20)))
	if err != nil || len(answer.GetMessage().GetContent()) != 32<<20 {
		t.Errorf("32 MiB: %v", err)
	}
	_, err = client.Complete(t.Context(), loom.Prompt(strings.Repeat("x", 65<<20)))

	var failure *loom.Error
	if !errors.As(err, &failure) || failure.Name() != "INVALID_REQUEST" || failure.Metadata["grpc_code"] != "RESOURCE_EXHAUSTED" {
		t.Errorf("65 MiB: %v", err)
	}
}

func TestWhatCannotBeSentIsAnInvalidRequest(t *testing.T) {
	t.Parallel()
	_, address := serve(t, holding(started()))
	client := connect(t, address)
	wrong := metadata.AppendToOutgoingContext(t.Context(), "x-team", "röd")

	_, text := client.Complete(t.Context(), loom.Prompt("caf\xe9"))
	_, streamed := drain(client.Stream(t.Context(), loom.Prompt("caf\xe9")))
	_, value := client.Complete(wrong, loom.Prompt("Hello!"))

	for _, err := range []error{text, streamed, value} {
		var failure *loom.Error
		if !errors.As(err, &failure) || failure.Name() != "INVALID_REQUEST" || !strings.HasPrefix(failure.Message, "The request cannot be sent (") {
			t.Errorf("got %v", err)
		}
	}
}

func TestAClosedClientSaysSo(t *testing.T) {
	t.Parallel()
	_, address := serve(t, holding(started()))
	client, err := loom.New(address)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.Stream(t.Context(), loom.Prompt("Hello!"))
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}

	_, inFlight := stream.Recv()
	_, later := client.Complete(t.Context(), loom.Prompt("Hello!"))

	for _, err := range []error{inFlight, later} {
		want := "PROVIDER_UNAVAILABLE: The client of the server at " + address + " has been closed ("
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAConnectionThatBreaksIsUnavailable(t *testing.T) {
	t.Parallel()
	_, address := serve(t, holding(started()))
	target, cut := relay(t, address)
	stream := connect(t, target).Stream(t.Context(), loom.Prompt("Hello!"))

	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cut()
	_, err := stream.Recv()

	var failure *loom.Error
	if !errors.As(err, &failure) || failure.Name() != "PROVIDER_UNAVAILABLE" {
		t.Errorf("got %v", err)
	}
}

// relay passes one connection on to address; cut breaks it.
func relay(t *testing.T, address string) (target string, cut func()) {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	ours, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	theirs := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the test is over
		}
		theirs <- conn
		go io.Copy(ours, conn)
		io.Copy(conn, ours)
	}()
	t.Cleanup(func() { errors.Join(listener.Close(), ours.Close()) })
	return listener.Addr().String(), func() { errors.Join((<-theirs).Close(), listener.Close()) }
}
