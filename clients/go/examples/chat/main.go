// Command chat holds a conversation with a model behind a loom-grpc server: each line is answered as the answer comes.
//
// Ctrl-C stops an answer, and ends the program where none is under way; so does the end of the input. The key, where the server wants
// one, is in LOOM_API_KEY.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// longestLine is what the server takes; the scanner's own limit of 64 KiB would end the conversation.
const longestLine = 64 << 20

func main() {
	target := flag.String("target", loom.DefaultTarget, "where the server is")
	model := flag.String("model", "", "the model; empty means the provider's default")
	provider := flag.String("provider", "", "the provider; empty lets the server choose")
	secure := flag.Bool("tls", false, "speak TLS, with the system's authorities")
	flag.Parse()

	var options []loom.Option
	if key := os.Getenv("LOOM_API_KEY"); key != "" {
		options = append(options, loom.WithAPIKey(key))
	}
	if *secure {
		options = append(options, loom.WithTLS(nil))
	}
	client, err := loom.New(*target, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer client.Close()
	converse(client, &loompb.LlmRequest{Provider: *provider, Model: *model})
}

// converse answers line by line. A question that got no whole answer is forgotten.
func converse(client *loom.Client, request *loompb.LlmRequest) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for fmt.Print("> "); lines.Scan(); fmt.Print("> ") {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		before := request.Messages
		request.Messages = append(before, loom.User(lines.Text()))
		answer, err := show(client, request)
		fmt.Println()
		if err != nil {
			request.Messages = before
			explain(err)
			continue
		}
		request.Messages = append(request.Messages, answer.GetMessage())
	}
	fmt.Println()
}

// show prints an answer as it comes and returns it whole.
func show(client *loom.Client, request *loompb.LlmRequest) (*loompb.LlmResponse, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	stream := client.Stream(ctx, request)
	for event, err := range stream.Events() {
		if err != nil {
			return nil, err
		}
		fmt.Print(event.GetTextDelta().GetContent())
	}
	return stream.Response(), nil
}

func explain(err error) {
	var failure *loom.Error
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "stopped")
	case errors.As(err, &failure):
		fmt.Fprintln(os.Stderr, failure)
		if wait, known := failure.RetryAfter(); known {
			fmt.Fprintln(os.Stderr, "try again in", wait)
		}
	default:
		fmt.Fprintln(os.Stderr, err)
	}
}
