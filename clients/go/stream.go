package loom

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// endGrace is how long a call may take to end after its last event.
const endGrace = 2 * time.Second

// Stream is the events of one answer: `started`, deltas, and `completed` as the last. It ends in an [*Error] in any other case: an
// `error` event (whose Partial has what arrived before), a failed call, a broken connection, an end without `completed`.
//
// One goroutine at a time may read it; Close may be called from any.
type Stream struct {
	target   string
	call     grpc.ServerStreamingClient[loompb.LlmEvent]
	cancel   context.CancelFunc
	closed   atomic.Bool
	response *loompb.LlmResponse // what `completed` had
	over     error               // what every further read returns
}

// Events returns the iterator of the events that are left, and closes the stream when the loop ends, for whatever reason. An error is
// the last thing that it yields.
func (s *Stream) Events() iter.Seq2[*loompb.LlmEvent, error] {
	return func(yield func(*loompb.LlmEvent, error) bool) {
		defer s.Close()
		for {
			event, err := s.Recv()
			if errors.Is(err, io.EOF) || !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Recv waits for the next event. It returns [io.EOF] after `completed` and after Close, and [context.Canceled] after the context was
// cancelled.
func (s *Stream) Recv() (*loompb.LlmEvent, error) {
	if s.over == nil && s.response != nil {
		s.end()
		s.over = io.EOF
	}
	if s.over != nil {
		return nil, s.over
	}
	event, err := s.call.Recv()
	switch {
	case s.closed.Load():
		if err == nil {
			s.end()
		}
		err = io.EOF
	case errors.Is(err, io.EOF):
		err = unended.of(status.New(codes.OK, ""), s.target)
	case err == nil && event.GetError() != nil:
		err = s.reported(event.GetError())
	}
	if err != nil {
		s.over = err
		s.cancel()
		return nil, err
	}
	if completed := event.GetCompleted(); completed != nil {
		s.response = cmp.Or(completed.GetResponse(), &loompb.LlmResponse{})
	}
	return event, nil
}

// Close cancels the call, up to the provider, unless it is over; a Recv that waits returns [io.EOF].
func (s *Stream) Close() {
	s.closed.Store(true)
	s.cancel()
}

// Response returns the whole answer once `completed` has come, and nil before.
func (s *Stream) Response() *loompb.LlmResponse {
	return s.response
}

// Header waits for the beginning of the answer and returns its metadata, such as `loom-ratelimit`; nil when the call failed before.
func (s *Stream) Header() metadata.MD {
	if s.call == nil {
		return nil
	}
	header, _ := s.call.Header() // a failure is for Recv to tell
	return header
}

// Trailer returns the metadata at the end, such as `loom-request-id`; nil until Recv or the iterator has come to the end.
func (s *Stream) Trailer() metadata.MD {
	if s.call == nil || s.over == nil {
		return nil
	}
	return s.call.Trailer()
}

// reported returns the error of an `error` event; the status that follows says more than the event does.
func (s *Stream) reported(event *loompb.Error) *Error {
	failure := eventError(event)
	var after *Error
	if errors.As(s.end(), &after) {
		failure.status = after.status
		if after.Reason == failure.Reason {
			failure.Metadata = after.Metadata
		}
	}
	return failure
}

// end lets the call end by itself, so that the server does not take it for cancelled, and returns what it ended with. Events that are
// still to come are read too: before the end of a call gRPC may be writing the trailers.
func (s *Stream) end() error {
	timer := time.AfterFunc(endGrace, s.cancel)
	defer timer.Stop()
	for {
		if _, err := s.call.Recv(); err != nil {
			s.cancel()
			return err
		}
	}
}
