package loom

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	maxMessageBytes = 64 << 20
	maxHeaderBytes  = 1 << 20
)

// Option is a setting of a [Client].
type Option func(*settings) error

type settings struct {
	metadata    map[string]string
	transport   credentials.TransportCredentials
	timeout     time.Duration
	dialOptions []grpc.DialOption
}

// WithAPIKey sends a key or token as `authorization: Bearer ...` with every call; without TLS it goes out in the clear.
func WithAPIKey(key string) Option {
	return func(s *settings) error {
		if !token.MatchString(key) {
			return errors.New("loom: api key: must be printable ASCII without spaces or line breaks")
		}
		s.metadata["authorization"] = "Bearer " + key
		return nil
	}
}

// WithTLS speaks TLS; nil trusts the authorities of the system, and a configuration may name others (RootCAs) and show a certificate of
// the caller's (Certificates).
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error {
		s.transport = credentials.NewTLS(config)
		return nil
	}
}

// WithTimeout limits every call whose context has no deadline; without it such a call waits as long as the server does.
func WithTimeout(limit time.Duration) Option {
	return func(s *settings) error {
		s.timeout = limit
		return nil
	}
}

// WithMetadata sends metadata with every call. Names are written in lower case, and values must be printable ASCII.
func WithMetadata(metadata map[string]string) Option {
	return func(s *settings) error {
		for name, value := range metadata {
			name = strings.ToLower(name)
			if !metadataName.MatchString(name) || strings.HasSuffix(name, "-bin") {
				return fmt.Errorf("loom: metadata: %q is not a name for text", name)
			}
			if !metadataValue.MatchString(value) {
				return fmt.Errorf("loom: metadata: the value of %s must be printable ASCII", name)
			}
			s.metadata[name] = value
		}
		return nil
	}
}

// WithDialOptions adds settings of the gRPC connection, which come after the client's own and replace them.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.dialOptions = append(s.dialOptions, options...)
		return nil
	}
}

var (
	token         = regexp.MustCompile(`^[!-~]+$`)
	metadataName  = regexp.MustCompile(`^[a-z0-9_.-]+$`)
	metadataValue = regexp.MustCompile(`^[ -~]*$`)
)

// dialOptions returns what the connection is made with. The key is in nothing that the client itself holds, so that printing a client
// cannot show it.
func dialOptions(target string, options []Option) ([]grpc.DialOption, error) {
	chosen := settings{metadata: map[string]string{}, transport: insecure.NewCredentials()}
	for _, option := range options {
		if err := option(&chosen); err != nil {
			return nil, err
		}
	}
	edge := &edge{target: target, metadata: chosen.metadata, timeout: chosen.timeout}
	return append([]grpc.DialOption{
		grpc.WithTransportCredentials(chosen.transport),
		grpc.WithUserAgent("loom-grpc-go/" + Version),
		grpc.WithChainUnaryInterceptor(edge.unary),
		grpc.WithChainStreamInterceptor(edge.stream),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		// A model may think for minutes without a word: pings tell that from a dead connection.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// gRPC's own 1 s to 2 min would keep callers waiting long after a server has been restarted, and its 20 s for one attempt
		// long for a server that accepts connections and then says nothing.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// It would be looked up in DNS before the first call, and the server has none.
		grpc.WithDisableServiceConfig(),
	}, chosen.dialOptions...), nil
}
