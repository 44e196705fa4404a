package loom_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// say runs a stream of a server that sends these events and ends like this.
func say(t *testing.T, end error, events ...*loompb.LlmEvent) ([]*loompb.LlmEvent, *loom.Error) {
	t.Helper()
	_, address := serve(t, streamOf(end, events...))
	got, err := drain(connect(t, address).Stream(t.Context(), loom.Prompt("Hello!")))
	if err == nil {
		return got, nil
	}
	var failure *loom.Error
	if !errors.As(err, &failure) {
		t.Fatalf("%v is no *loom.Error", err)
	}
	return got, failure
}

func TestAnEndWithoutCompletedIsAnError(t *testing.T) {
	t.Parallel()

	events, failure := say(t, nil, started(), text("Hel"))

	if len(events) != 2 || failure == nil || failure.Name() != "PROVIDER_BAD_RESPONSE" || failure.Metadata["grpc_code"] != "OK" {
		t.Errorf("events: %v, error: %v", events, failure)
	}
}

func TestAnEventOfAnUnknownCaseIsHandedOn(t *testing.T) {
	t.Parallel()
	later := &loompb.LlmEvent{}
	later.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 500, protowire.BytesType), "of a later version"))
	odd := completed(&loompb.LlmResponse{StopReason: 77})

	events, failure := say(t, nil, started(), later, odd)

	if failure != nil || len(events) != 3 || !proto.Equal(events[1], later) || !proto.Equal(events[2], odd) {
		t.Errorf("events: %v, error: %v", events, failure)
	}
}

func TestCompletedWithoutAResponseIsAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	_, address := serve(t, streamOf(nil, completed(nil)))
	stream := connect(t, address).Stream(t.Context(), loom.Prompt("Hello!"))

	_, err := drain(stream)

	if err != nil || !proto.Equal(stream.Response(), &loompb.LlmResponse{}) {
		t.Errorf("response: %v, error: %v", stream.Response(), err)
	}
}

func TestWhatComesAfterCompletedIsLeft(t *testing.T) {
	t.Parallel()

	events, failure := say(t, status.Error(codes.Internal, "too late"), started(), completed(nil), text("more"))

	if failure != nil || len(events) != 2 {
		t.Errorf("events: %v, error: %v", events, failure)
	}
}

func TestTheTrailersAreThoseOfTheEndWhateverComesAfterTheLastEvent(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]*loompb.LlmEvent{
		"completed": completed(nil), "error": failed(&loompb.Error{Reason: loompb.ErrorReason_ERROR_REASON_LOOP_DETECTED}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := text(strings.Repeat("x", 1<<20)) // several are too much to be on the way while nobody reads
			send := streamOf(nil, last, more, more, more, more).stream
			_, address := serve(t, otherServer{stream: func(out grpc.ServerStreamingServer[loompb.LlmEvent]) error {
				out.SetTrailer(metadata.Pairs("loom-request-id", "r-1"))
				return send(out)
			}})
			stream := connect(t, address).Stream(t.Context(), loom.Prompt("Hello!"))

			drain(stream)

			if id := stream.Trailer().Get("loom-request-id"); len(id) != 1 || id[0] != "r-1" {
				t.Errorf("trailers: %v", stream.Trailer())
			}
		})
	}
}

func TestAnErrorEventHasThePartialAnswerAndTheMetadataOfTheStatus(t *testing.T) {
	t.Parallel()
	partial := &loompb.LlmResponse{Message: loom.Assistant("Hel")}
	event := failed(&loompb.Error{
		Reason: loompb.ErrorReason_ERROR_REASON_PROVIDER_RATE_LIMITED, Message: "Wait.",
		RetryAfter: durationpb.New(1500 * time.Millisecond), Partial: partial,
	})
	end := loomStatus(t, codes.ResourceExhausted, "PROVIDER_RATE_LIMITED")

	events, failure := say(t, end, started(), event)

	wait, known := failure.RetryAfter()
	if len(events) != 1 || failure.Error() != "PROVIDER_RATE_LIMITED: Wait." || wait != 1500*time.Millisecond || !known {
		t.Errorf("events: %v, error: %v, retry after %v (%v)", events, failure, wait, known)
	}
	if !proto.Equal(failure.Partial, partial) || failure.Metadata["request_id"] != "r-1" {
		t.Errorf("partial: %v, metadata: %v", failure.Partial, failure.Metadata)
	}
}

func TestAnErrorEventOfAnUnknownReasonIsInternal(t *testing.T) {
	t.Parallel()
	for _, reason := range []loompb.ErrorReason{0, 999} {
		_, failure := say(t, nil, failed(&loompb.Error{Reason: reason, Message: "Odd."}))

		if failure == nil || failure.Error() != "INTERNAL: Odd." {
			t.Errorf("reason %d: %v", reason, failure)
		}
	}
}

func TestAnUnknownReasonOfAStatusFollowsItsCode(t *testing.T) {
	t.Parallel()

	_, failure := say(t, loomStatus(t, codes.ResourceExhausted, "OUT_OF_COFFEE"))

	if failure == nil || failure.Name() != "RATE_LIMITED" || failure.Metadata["grpc_code"] != "RESOURCE_EXHAUSTED" {
		t.Errorf("got %v", failure)
	}
}

func TestAServerThatDoesNotEndAfterItsLastEventHoldsNobody(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]*loompb.LlmEvent{
		"PROVIDER_UNAVAILABLE": failed(&loompb.Error{Reason: loompb.ErrorReason_ERROR_REASON_PROVIDER_UNAVAILABLE}),
		"":                     completed(nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := serve(t, holding(last))

			_, err := drain(connect(t, address).Stream(t.Context(), loom.Prompt("Hello!")))

			var failure *loom.Error
			if errors.As(err, &failure); (failure == nil) != (name == "") || failure != nil && failure.Name() != name {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLeavingTheLoopCancelsTheCall(t *testing.T) {
	t.Parallel()
	service, gone := watched(text("Hel"))
	_, address := serve(t, service)
	stream := connect(t, address).Stream(t.Context(), loom.Prompt("Hello!"))

	for range stream.Events() {
		break
	}

	<-gone
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("after leaving: %v", err)
	}
}

func TestCloseFromElsewhereEndsTheLoopWithoutAnError(t *testing.T) {
	t.Parallel()
	service, gone := watched(text("Hel"))
	_, address := serve(t, service)
	stream := connect(t, address).Stream(t.Context(), loom.Prompt("Hello!"))

	for event, err := range stream.Events() {
		if err != nil || event.GetTextDelta() == nil {
			t.Errorf("got %v, %v", event, err)
		}
		go stream.Close()
	}

	<-gone
}

func TestCancellingTheContextIsNoError(t *testing.T) {
	t.Parallel()
	service, gone := watched(text("Hel"))
	_, address := serve(t, service)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := connect(t, address).Stream(ctx, loom.Prompt("Hello!"))

	var last error
	for _, err := range stream.Events() {
		last = err
		cancel()
	}

	<-gone
	if last != context.Canceled {
		t.Errorf("got %v", last)
	}
	if _, err := connect(t, address).Complete(ctx, loom.Prompt("Hello!")); err != context.Canceled {
		t.Errorf("complete: %v", err)
	}
}

func TestHeadersComeBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	service := otherServer{stream: func(out grpc.ServerStreamingServer[loompb.LlmEvent]) error {
		if err := out.SendHeader(metadata.Pairs("loom-ratelimit", "requests;limit=1")); err != nil {
			return err
		}
		<-out.Context().Done()
		return nil
	}}
	_, address := serve(t, service)
	stream := connect(t, address).Stream(t.Context(), loom.Prompt("Hello!"))
	defer stream.Close()

	header := stream.Header().Get("loom-ratelimit")

	if len(header) != 1 || header[0] != "requests;limit=1" || stream.Trailer() != nil {
		t.Errorf("headers: %v, trailers: %v", header, stream.Trailer())
	}
}

func loomStatus(t *testing.T, code codes.Code, reason string) error {
	t.Helper()
	failure, err := status.New(code, "Wait.").WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "loom-grpc", Metadata: map[string]string{"request_id": "r-1"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return failure.Err()
}

// holding makes a server whose streams stay open after these events until the call is cancelled.
func holding(events ...*loompb.LlmEvent) otherServer {
	service, _ := watched(events...)
	return service
}

// watched makes such a server that tells, once, when a call was cancelled.
func watched(events ...*loompb.LlmEvent) (otherServer, <-chan struct{}) {
	gone := make(chan struct{}, 1)
	send := streamOf(nil, events...).stream
	return otherServer{stream: func(out grpc.ServerStreamingServer[loompb.LlmEvent]) error {
		if err := send(out); err != nil {
			return err
		}
		<-out.Context().Done()
		gone <- struct{}{}
		return nil
	}}, gone
}
