package loom

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// edge is where every call leaves for the connection: it adds the client's metadata and time limit and reads what failures mean.
type edge struct {
	target   string
	metadata map[string]string
	timeout  time.Duration
}

func (e *edge) unary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	ctx, cancel := e.prepare(ctx)
	defer cancel()
	return e.meaning(ctx, invoke(ctx, method, request, reply, conn, options...))
}

func (e *edge) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, cancel := e.prepare(ctx)
	call, err := open(ctx, desc, conn, method, options...)
	if err != nil {
		err = e.meaning(ctx, err)
		cancel()
		return nil, err
	}
	return &typedStream{ClientStream: call, edge: e, ctx: ctx, cancel: cancel}, nil
}

// prepare returns the context of a call. Cancelling it after the call is over frees the timer.
func (e *edge) prepare(ctx context.Context) (context.Context, context.CancelFunc) {
	if len(e.metadata) > 0 {
		ctx = metadata.NewOutgoingContext(ctx, e.join(ctx))
	}
	if _, limited := ctx.Deadline(); limited || e.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, e.timeout)
}

// join returns the metadata of a call: the client's own, which the context's replaces by name.
func (e *edge) join(ctx context.Context) metadata.MD {
	joined, _ := metadata.FromOutgoingContext(ctx) // a copy
	if joined == nil {
		joined = make(metadata.MD, len(e.metadata))
	}
	for name, value := range e.metadata {
		if _, given := joined[name]; !given {
			joined[name] = []string{value}
		}
	}
	return joined
}

// typedStream is a stream whose failures are those of the client.
type typedStream struct {
	grpc.ClientStream
	edge   *edge
	ctx    context.Context // the caller's: the stream's own is cancelled when the call ends, however it ends
	cancel context.CancelFunc
}

func (s *typedStream) SendMsg(message any) error {
	return s.edge.meaning(s.ctx, s.ClientStream.SendMsg(message))
}

func (s *typedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil {
		return nil
	}
	err = s.edge.meaning(s.ctx, err)
	s.cancel()
	return err
}
