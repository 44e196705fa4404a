// Package loom asks a loom-grpc server: every large language model provider behind one typed contract.
//
// A [Client] is one HTTP/2 connection for any number of calls at once. The generated messages and stubs are in loompb; this package adds
// what they lack: an iterator of events that cannot end in a false success, one typed [Error], the API key, TLS, a default time limit,
// and short ways to write messages.
//
//	client, err := loom.New("127.0.0.1:50051", loom.WithAPIKey(key))
//	...
//	for event, err := range client.Stream(ctx, loom.Prompt("Tell me a story.")).Events() {
//		if err != nil {
//			return err
//		}
//		fmt.Print(event.GetTextDelta().GetContent())
//	}
//
// The context carries a call's deadline, to the provider too, and cancelling it cancels the call up to the provider at once.
package loom
