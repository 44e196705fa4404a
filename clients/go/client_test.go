package loom_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	loom "github.com/loom-grpc/loom-grpc/clients/go"
	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

const secret = "sk-nobody-may-see-this"

// received makes a server that keeps the metadata of the last call.
func received() (otherServer, *metadata.MD) {
	var got metadata.MD
	return otherServer{
		complete: func(ctx context.Context, _ *loompb.LlmRequest) (*loompb.LlmResponse, error) {
			got, _ = metadata.FromIncomingContext(ctx)
			return &loompb.LlmResponse{}, nil
		},
		stream: func(out grpc.ServerStreamingServer[loompb.LlmEvent]) error {
			got, _ = metadata.FromIncomingContext(out.Context())
			return out.Send(completed(nil))
		},
	}, &got
}

func TestKeyMetadataAndUserAgentGoOutWithEveryCall(t *testing.T) {
	t.Parallel()
	service, got := received()
	_, address := serve(t, service)
	client := connect(t, address, loom.WithAPIKey(secret), loom.WithMetadata(map[string]string{"X-Request-Id": "1", "team": "a"}))

	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "2")
	calls := map[string]func() error{
		"complete": func() error { _, err := client.Complete(ctx, loom.Prompt("Hello!")); return err },
		"stream":   func() error { _, err := drain(client.Stream(ctx, loom.Prompt("Hello!"))); return err },
	}

	for name, call := range calls {
		if err := call(); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"authorization": "Bearer " + secret, "x-request-id": "2", "team": "a"} {
			if values := got.Get(key); len(values) != 1 || values[0] != want {
				t.Errorf("%s: %s is %v", name, key, values)
			}
		}
		if agent := got.Get("user-agent"); len(agent) != 1 || !strings.HasPrefix(agent[0], "loom-grpc-go/"+loom.Version+" ") {
			t.Errorf("%s: user agent %v", name, agent)
		}
	}
}

func TestTheKeyIsInNothingThatCanBePrinted(t *testing.T) {
	t.Parallel()
	service, _ := received()
	_, address := serve(t, service)
	client := connect(t, address, loom.WithAPIKey(secret))
	stream := client.Stream(t.Context(), loom.Prompt("Hello!"))
	defer stream.Close()
	_, badKey := loom.New("", loom.WithAPIKey(secret+"\n"))
	_, badValue := loom.New("", loom.WithMetadata(map[string]string{"x-key": secret + "\n"}))

	for _, thing := range []any{client, *client, stream, badKey, badValue} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			if printed := fmt.Sprintf(verb, thing); strings.Contains(printed, secret) {
				t.Errorf("%s shows the key: %s", verb, printed)
			}
		}
	}
	if badKey == nil || badValue == nil {
		t.Errorf("taken: %v, %v", badKey, badValue)
	}
}

func TestListModelsAsksForEveryPage(t *testing.T) {
	t.Parallel()
	service := otherServer{models: func(request *loompb.ListModelsRequest) *loompb.ListModelsResponse {
		number, _ := strconv.Atoi(request.GetPageToken())
		answer := &loompb.ListModelsResponse{Models: []*loompb.Model{{Provider: request.GetProvider(), Id: strconv.Itoa(number)}}}
		if number < 2 {
			answer.NextPageToken = strconv.Itoa(number + 1)
		}
		return answer
	}}
	_, address := serve(t, service)

	models, err := connect(t, address).ListModels(t.Context(), "p")

	want := &loompb.ListModelsResponse{Models: []*loompb.Model{{Provider: "p", Id: "0"}, {Provider: "p", Id: "1"}, {Provider: "p", Id: "2"}}}
	if err != nil || !proto.Equal(&loompb.ListModelsResponse{Models: models}, want) {
		t.Errorf("got %v, %v", models, err)
	}
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	service, _ := received()
	_, address := serve(t, service, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{authority.issue(t)},
		ClientCAs:    authority.pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	})))
	own := &tls.Config{RootCAs: authority.pool, Certificates: []tls.Certificate{authority.issue(t)}}

	if _, err := connect(t, address, loom.WithTLS(own)).Complete(t.Context(), loom.Prompt("Hello!")); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	for name, option := range map[string]loom.Option{
		"the system's authorities": loom.WithTLS(nil),
		"no certificate":           loom.WithTLS(&tls.Config{RootCAs: authority.pool}),
	} {
		_, err := connect(t, address, option).Complete(t.Context(), loom.Prompt("Hello!"))

		var failure *loom.Error
		if !errors.As(err, &failure) || failure.Name() != "PROVIDER_UNAVAILABLE" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// authority issues certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	cert, err := x509.ParseCertificate(sign(t, template, template, key, key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "peer"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return tls.Certificate{Certificate: [][]byte{sign(t, template, a.cert, key, a.key)}, PrivateKey: key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
