package loom_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

func Example() {
	client, err := loom.New("127.0.0.1:50051", loom.WithTimeout(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	stream := client.Stream(context.Background(), &loompb.LlmRequest{
		Provider:  "anthropic",
		Messages:  []*loompb.Message{loom.System("Be brief."), loom.User("Tell me a story.")},
		MaxTokens: proto.Int32(400),
	})
	for event, err := range stream.Events() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(event.GetTextDelta().GetContent())
	}
	fmt.Println(stream.Response().GetUsage().GetOutputTokens(), stream.Trailer().Get("loom-request-id"))
}

func ExampleError() {
	client, err := loom.New("loom.example.com:443", loom.WithTLS(nil), loom.WithAPIKey(os.Getenv("LOOM_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Complete(context.Background(), loom.Prompt("Name three rivers."))
	var failure *loom.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Name(), failure.Message, failure.Metadata["request_id"])
		if wait, known := failure.RetryAfter(); known {
			fmt.Println("try again in", wait)
		}
	}
}

func ExampleWithTLS() {
	authority, err := os.ReadFile("ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	own, err := tls.LoadX509KeyPair("client.pem", "client.key")
	if err != nil {
		log.Fatal(err)
	}

	client, err := loom.New(
		"loom.example.com:443", loom.WithTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func ExampleToolResult() {
	client, err := loom.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	request := loom.Prompt("What is the weather in Oslo?")
	request.Tools = []*loompb.ToolDefinition{
		loom.Tool("weather", "Looks up weather", `{"type": "object", "properties": {"city": {"type": "string"}}}`),
	}
	for {
		answer, err := client.Complete(context.Background(), request)
		if err != nil {
			log.Fatal(err)
		}
		request.Messages = append(request.Messages, answer.GetMessage())
		if len(answer.GetToolCalls()) == 0 {
			fmt.Println(answer.GetMessage().GetContent())
			return
		}
		for _, call := range answer.GetToolCalls() {
			request.Messages = append(request.Messages, loom.ToolResult(call, "3 °C"))
		}
	}
}
