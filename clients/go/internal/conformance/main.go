// Command conformance carries out calls through the client: one JSON object a line in, one a line out. It judges nothing.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

type connection struct {
	Target string  `json:"target"`
	TLS    *pems   `json:"tls"`
	APIKey *string `json:"api_key"`
}

type pems struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

type task struct {
	connection
	Name              string            `json:"name"`
	Metadata          map[string]string `json:"metadata"`
	Method            string            `json:"method"`
	Request           []byte            `json:"request"`
	TimeoutMs         *int              `json:"timeout_ms"`
	CancelAfterEvents *int              `json:"cancel_after_events"`
	CancelAfterMs     *int              `json:"cancel_after_ms"`
}

type outcome struct {
	Name      string            `json:"name"`
	Response  []byte            `json:"response"`
	Events    [][]byte          `json:"events,omitzero"`
	Error     *failure          `json:"error"`
	Cancelled bool              `json:"cancelled"`
	Trailers  map[string]string `json:"trailers"`
	ElapsedMs float64           `json:"elapsed_ms"`
}

type failure struct {
	Reason       string            `json:"reason"`
	Message      string            `json:"message"`
	RetryAfterMs *int64            `json:"retry_after_ms"`
	Metadata     map[string]string `json:"metadata"`
	Partial      []byte            `json:"partial"`
}

type refusal struct {
	Name   string `json:"name"`
	Failed string `json:"failed"`
}

func main() {
	runner := runner{clients: map[string]*loom.Client{}}
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := answers.Encode(runner.answer(line)); err != nil {
				fatal(err)
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type runner struct {
	clients map[string]*loom.Client // by their connection's settings
}

// answer returns what becomes of one line: an outcome, or a refusal when it cannot be carried out.
func (r *runner) answer(line []byte) any {
	var task task
	err := json.Unmarshal(line, &task)
	if err == nil {
		var client *loom.Client
		if client, err = r.client(task.connection); err == nil {
			var out *outcome
			if out, err = carryOut(client, task); err == nil {
				return out
			}
		}
	}
	return refusal{task.Name, err.Error()}
}

func (r *runner) client(to connection) (*loom.Client, error) {
	key, err := json.Marshal(to)
	if err != nil {
		return nil, err
	}
	if client := r.clients[string(key)]; client != nil {
		return client, nil
	}
	options, err := to.options()
	if err != nil {
		return nil, err
	}
	client, err := loom.New(to.Target, options...)
	if err != nil {
		return nil, err
	}
	r.clients[string(key)] = client
	return client, nil
}

func (c connection) options() ([]loom.Option, error) {
	var options []loom.Option
	if c.APIKey != nil {
		options = append(options, loom.WithAPIKey(*c.APIKey))
	}
	if c.TLS != nil {
		config, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		options = append(options, loom.WithTLS(config))
	}
	return options, nil
}

func (p pems) config() (*tls.Config, error) {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM([]byte(p.CA)) {
		return nil, errors.New("tls.ca: holds no certificate")
	}
	if p.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// carryOut makes the call; the error tells why it cannot even be tried.
func carryOut(client *loom.Client, task task) (*outcome, error) {
	call, known := methods[task.Method]
	if !known {
		return nil, fmt.Errorf("method: there is no %q", task.Method)
	}
	ctx, cancel := task.context()
	defer cancel()
	out := &outcome{Name: task.Name}
	began := time.Now()
	trailer, err := call(ctx, client, task, out)
	out.ElapsedMs = float64(time.Since(began).Microseconds()) / 1000
	out.Trailers = texts(trailer)
	return out, out.conclude(err)
}

func (t task) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.New(t.Metadata)))
	if t.CancelAfterMs != nil {
		time.AfterFunc(time.Duration(*t.CancelAfterMs)*time.Millisecond, cancel)
	}
	if t.TimeoutMs == nil {
		return ctx, cancel
	}
	limited, cancelLimited := context.WithTimeout(ctx, time.Duration(*t.TimeoutMs)*time.Millisecond)
	return limited, func() { cancelLimited(); cancel() }
}

type method func(ctx context.Context, client *loom.Client, task task, out *outcome) (metadata.MD, error)

var methods = map[string]method{
	"complete":     unary((*loom.Client).Complete),
	"count_tokens": unary((*loom.Client).CountTokens),
	"embed":        unary((*loom.Client).Embed),
	"list_models":  listModels,
	"stream":       stream,
}

// unary makes a method of one of the client's.
func unary[Q any, R proto.Message, P interface {
	*Q
	proto.Message
}](call func(*loom.Client, context.Context, P, ...grpc.CallOption) (R, error)) method {
	return func(ctx context.Context, client *loom.Client, task task, out *outcome) (metadata.MD, error) {
		request := P(new(Q))
		if err := proto.Unmarshal(task.Request, request); err != nil {
			return nil, err
		}
		var trailer metadata.MD
		response, err := call(client, ctx, request, grpc.Trailer(&trailer))
		if err != nil {
			return trailer, err
		}
		out.Response, err = proto.Marshal(response)
		return trailer, err
	}
}

func listModels(ctx context.Context, client *loom.Client, _ task, out *outcome) (metadata.MD, error) {
	var trailer metadata.MD
	models, err := client.ListModels(ctx, "", grpc.Trailer(&trailer))
	if err != nil {
		return trailer, err
	}
	out.Response, err = proto.Marshal(&loompb.ListModelsResponse{Models: models})
	return trailer, err
}

func stream(ctx context.Context, client *loom.Client, task task, out *outcome) (metadata.MD, error) {
	var request loompb.LlmRequest
	if err := proto.Unmarshal(task.Request, &request); err != nil {
		return nil, err
	}
	out.Events = [][]byte{}
	stream := client.Stream(ctx, &request)
	for event, err := range stream.Events() {
		if err != nil {
			return stream.Trailer(), err
		}
		data, err := proto.Marshal(event)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, data)
		if task.CancelAfterEvents != nil && len(out.Events) == *task.CancelAfterEvents {
			out.Cancelled = true
			return nil, nil
		}
	}
	var err error
	out.Response, err = proto.Marshal(stream.Response())
	return stream.Trailer(), err
}

// conclude puts the error of a call into the outcome and hands back any other.
func (o *outcome) conclude(err error) error {
	var failed *loom.Error
	switch {
	case errors.Is(err, context.Canceled):
		o.Cancelled = true
	case errors.As(err, &failed):
		return o.fail(failed)
	default:
		return err
	}
	return nil
}

func (o *outcome) fail(failed *loom.Error) error {
	o.Error = &failure{Reason: failed.Name(), Message: failed.Message, Metadata: failed.Metadata}
	if wait, known := failed.RetryAfter(); known {
		o.Error.RetryAfterMs = new(wait.Milliseconds())
	}
	if o.Error.Metadata == nil {
		o.Error.Metadata = map[string]string{}
	}
	if failed.Partial == nil {
		return nil
	}
	var err error
	o.Error.Partial, err = proto.Marshal(failed.Partial)
	return err
}

func texts(trailer metadata.MD) map[string]string {
	texts := map[string]string{}
	for name, values := range trailer {
		if !strings.HasSuffix(name, "-bin") {
			texts[name] = strings.Join(values, ", ")
		}
	}
	return texts
}
