package loom_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// otherServer is a gRPC server at a real socket that does what loom-grpc itself never does, or tells what reached it.
type otherServer struct {
	loompb.UnimplementedLlmServiceServer

	complete func(context.Context, *loompb.LlmRequest) (*loompb.LlmResponse, error)
	models   func(*loompb.ListModelsRequest) *loompb.ListModelsResponse
	stream   func(grpc.ServerStreamingServer[loompb.LlmEvent]) error
}

func (s otherServer) Complete(ctx context.Context, request *loompb.LlmRequest) (*loompb.LlmResponse, error) {
	return s.complete(ctx, request)
}

func (s otherServer) ListModels(_ context.Context, request *loompb.ListModelsRequest) (*loompb.ListModelsResponse, error) {
	return s.models(request), nil
}

func (s otherServer) Stream(_ *loompb.LlmRequest, events grpc.ServerStreamingServer[loompb.LlmEvent]) error {
	return s.stream(events)
}

// serve starts a server at a free port until the test ends, and returns it with its address.
func serve(t *testing.T, service otherServer, options ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", service, options...)
}

func serveAt(
	t *testing.T, address string, service otherServer, options ...grpc.ServerOption,
) (*grpc.Server, string) {
	t.Helper()
	listener := listen(t, address)
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(64<<20))...)
	loompb.RegisterLlmServiceServer(server, service)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server, listener.Addr().String()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func connect(t *testing.T, target string, options ...loom.Option) *loom.Client {
	t.Helper()
	client, err := loom.New(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// drain reads a stream to its end and returns the events before it, and the error that it ended in.
func drain(stream *loom.Stream) ([]*loompb.LlmEvent, error) {
	var events []*loompb.LlmEvent
	for event, err := range stream.Events() {
		if err != nil {
			return events, err
		}
		events = append(events, event)
	}
	return events, nil
}

// streamOf makes a server whose streams are these events and a status.
func streamOf(end error, events ...*loompb.LlmEvent) otherServer {
	return otherServer{stream: func(out grpc.ServerStreamingServer[loompb.LlmEvent]) error {
		for _, event := range events {
			if err := out.Send(event); err != nil {
				return err
			}
		}
		return end
	}}
}

func started() *loompb.LlmEvent {
	return &loompb.LlmEvent{Event: &loompb.LlmEvent_Started{Started: &loompb.Started{Id: "1", Attempt: 1}}}
}

func text(content string) *loompb.LlmEvent {
	return &loompb.LlmEvent{Event: &loompb.LlmEvent_TextDelta{TextDelta: &loompb.TextDelta{Content: content}}}
}

func completed(response *loompb.LlmResponse) *loompb.LlmEvent {
	return &loompb.LlmEvent{Event: &loompb.LlmEvent_Completed{Completed: &loompb.Completed{Response: response}}}
}

func failed(failure *loompb.Error) *loompb.LlmEvent {
	return &loompb.LlmEvent{Event: &loompb.LlmEvent_Error{Error: failure}}
}
