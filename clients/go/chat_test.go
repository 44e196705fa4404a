package loom_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheChat(t *testing.T) {
	program := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command("go", "build", "-o", program, "./examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	chat := func(model string) *exec.Cmd {
		return exec.Command(program, "--target", live, "--provider", "mock", "--model", model)
	}

	t.Run("answers each line", func(t *testing.T) {
		words := chat("mock-echo")
		words.Stdin = strings.NewReader("Hello there\n\nAnd now?\n")
		if said, err := words.CombinedOutput(); err != nil || string(said) != "> Hello there\n> > And now?\n> \n" {
			t.Errorf("%q, %v", said, err)
		}
	})

	t.Run("answers a long line", func(t *testing.T) {
		line := strings.Repeat("x", 100_000)
		words := chat("mock-echo")
		words.Stdin = strings.NewReader(line + "\nAnd now?\n")
		if said, err := words.CombinedOutput(); err != nil || string(said) != "> "+line+"\n> And now?\n> \n" {
			t.Errorf("%d bytes, %v", len(said), err)
		}
	})

	t.Run("says why there is no answer, and goes on", func(t *testing.T) {
		quota := chat("mock-quota")
		quota.Stdin = strings.NewReader("Hello\n")
		said, err := quota.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(said), "> \nPROVIDER_QUOTA_EXCEEDED: ") || !strings.HasSuffix(string(said), "\n> \n") {
			t.Errorf("%q, %v", said, err)
		}
	})

	t.Run("Ctrl-C stops an answer and not the conversation", func(t *testing.T) {
		slow := chat("mock-slow")
		slow.Stdin = strings.NewReader("Hello\n")
		var told bytes.Buffer
		slow.Stderr = &told
		out, err := slow.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := slow.Start(); err != nil {
			t.Fatal(err)
		}
		begun := make([]byte, len("> Hello! "))
		if _, err := io.ReadFull(out, begun); err != nil || string(begun) != "> Hello! " {
			t.Errorf("%q, %v", begun, err)
		}
		if err := slow.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		rest, err := io.ReadAll(out)
		if err := errors.Join(err, slow.Wait()); err != nil || string(rest) != "\n> \n" || told.String() != "stopped\n" {
			t.Errorf("%q, %q, %v", rest, told.String(), err)
		}
	})
}
