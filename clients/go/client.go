package loom

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// DefaultTarget is where a server listens that was not told otherwise.
const DefaultTarget = "127.0.0.1:50051"

const pageSize = 1000

// Client asks a loom-grpc server; it is safe for use by any number of goroutines.
//
// Every method returns an [*Error] when the call fails, and [context.Canceled] when the caller's context was cancelled. Metadata of the
// context (see [google.golang.org/grpc/metadata]) goes out with a call and replaces the client's own by name.
type Client struct {
	target string
	conn   *grpc.ClientConn
	llm    loompb.LlmServiceClient
}

// New makes a client of the server at target, such as "loom.example.com:443"; empty means [DefaultTarget]. It does not connect: the
// first call does. The error tells of an option that cannot be used.
func New(target string, options ...Option) (*Client, error) {
	if target == "" {
		target = DefaultTarget
	}
	dial, err := dialOptions(target, options)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("loom: target %q: %w", target, err)
	}
	return &Client{target: target, conn: conn, llm: loompb.NewLlmServiceClient(conn)}, nil
}

// Close closes the connection and ends the calls that are in flight.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Complete returns the whole answer to a request.
func (c *Client) Complete(
	ctx context.Context, request *loompb.LlmRequest, options ...grpc.CallOption,
) (*loompb.LlmResponse, error) {
	return c.llm.Complete(ctx, request, options...)
}

// CountTokens returns the number of prompt tokens of a request; Estimated tells when the provider could not count them.
func (c *Client) CountTokens(
	ctx context.Context, request *loompb.LlmRequest, options ...grpc.CallOption,
) (*loompb.CountTokensResponse, error) {
	return c.llm.CountTokens(ctx, request, options...)
}

// Embed turns texts into vectors, in their order.
func (c *Client) Embed(
	ctx context.Context, request *loompb.EmbedRequest, options ...grpc.CallOption,
) (*loompb.EmbedResponse, error) {
	return c.llm.Embed(ctx, request, options...)
}

// ListModels returns all models of one provider, or of all when it is empty, ordered by provider and id. A default time limit is for each
// page of a thousand.
func (c *Client) ListModels(
	ctx context.Context, provider string, options ...grpc.CallOption,
) ([]*loompb.Model, error) {
	var models []*loompb.Model
	request := &loompb.ListModelsRequest{Provider: provider, PageSize: pageSize}
	for {
		page, err := c.llm.ListModels(ctx, request, options...)
		if err != nil {
			return nil, err
		}
		models = append(models, page.GetModels()...)
		if page.GetNextPageToken() == "" {
			return models, nil
		}
		request.PageToken = page.GetNextPageToken()
	}
}

// Stream starts a call whose answer comes event by event. Read it to its end, or close it: a stream that is neither holds the call open
// until the context is done.
func (c *Client) Stream(ctx context.Context, request *loompb.LlmRequest, options ...grpc.CallOption) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	stream := &Stream{target: c.target, cancel: cancel}
	stream.call, stream.over = c.llm.Stream(ctx, request, options...)
	if stream.over != nil {
		cancel()
	}
	return stream
}

// Target returns the address that the client was made for.
func (c *Client) Target() string {
	return c.target
}

// Conn returns the connection, for other services at the same address: loompb.NewAdminServiceClient(client.Conn()) administers the
// server. Calls over it have the client's metadata and default time limit, and fail with an [*Error] too.
func (c *Client) Conn() grpc.ClientConnInterface {
	return c.conn
}
