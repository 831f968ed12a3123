package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newAuthority(name string) *authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	return &authority{must(x509.ParseCertificate(der)), key}
}

// issue returns a PEM certificate and key that end at notAfter.
func (a *authority) issue(name string, notAfter time.Time) (cert, key []byte) {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(notAfter.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(k))})
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	ca, clients := newAuthority("servers"), newAuthority("clients")
	until := time.Now().Add(30 * time.Minute)
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	var lines logLines
	s := newServer(t, newReader(sample()), rpc.Options{Log: slog.New(slog.NewTextHandler(&lines, nil)), TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{must(tls.X509KeyPair(ca.issue("one", until)))},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}})
	lis := must(net.Listen("tcp", "127.0.0.1:0"))
	run(t, s, lis)

	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	call := func(cfg *tls.Config) error {
		cfg.RootCAs = roots
		cfg.ServerName = "localhost"
		conn := dialTCP(t, lis.Addr(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, err := pb.NewCarbonServiceClient(conn).GetProjects(ctx, new(pb.ProjectQuery))
		return err
	}
	mine := must(tls.X509KeyPair(clients.issue("me", until)))
	foreign := must(tls.X509KeyPair(ca.issue("not a client", until)))
	if err := call(&tls.Config{Certificates: []tls.Certificate{mine}}); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]*tls.Config{
		"no client certificate":      {},
		"foreign client certificate": {Certificates: []tls.Certificate{foreign}},
		"TLS 1.1":                    {Certificates: []tls.Certificate{mine}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		if err := call(cfg); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := lines.String(); strings.Count(text, "gRPC handshake failed") != 1 || !strings.Contains(text, "tls: ") {
		t.Errorf("the log should have one line about refused clients:\n%s", text)
	}
}

// logLines keeps a log.
type logLines struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestTokens(t *testing.T) {
	sum := sha256.Sum256([]byte("the-admin-secret"))
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, []byte("# who\ndashboard read read-secret-0123456\n\nops\tadmin sha256:"+hex.EncodeToString(sum[:])+"\n"))
	s := newServer(t, newReader(sample()), rpc.Options{TokensFile: path, ReadMethods: []string{"/test.Extra/Open"}, Register: []func(grpc.ServiceRegistrar){extra}})
	c, conn := serveServer(t, s)
	as := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	}
	projects := func(ctx context.Context) error {
		_, err := c.GetProjects(ctx, new(pb.ProjectQuery))
		return err
	}
	other := func(method string) func(context.Context) error {
		return func(ctx context.Context) error {
			return conn.Invoke(ctx, "/test.Extra/"+method, new(pb.ProjectQuery), new(pb.ProjectQuery))
		}
	}
	for name, tc := range map[string]struct {
		ctx    context.Context
		call   func(context.Context) error
		code   codes.Code
		reason string
	}{
		"none":          {t.Context(), projects, codes.Unauthenticated, rpcerr.ReasonTokenMissing},
		"basic":         {metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic eDp5"), projects, codes.Unauthenticated, rpcerr.ReasonTokenMissing},
		"wrong":         {as("wrong"), projects, codes.Unauthenticated, rpcerr.ReasonTokenUnknown},
		"hash as token": {as(hex.EncodeToString(sum[:])), projects, codes.Unauthenticated, rpcerr.ReasonTokenUnknown},
		"read":          {as("read-secret-0123456"), projects, codes.OK, ""},
		"admin reads":   {as("the-admin-secret"), projects, codes.OK, ""},
		"read opens":    {as("read-secret-0123456"), other("Open"), codes.OK, ""},
		"read unnamed":  {as("read-secret-0123456"), other("Closed"), codes.PermissionDenied, rpcerr.ReasonScopeMissing},
		"admin unnamed": {as("the-admin-secret"), other("Closed"), codes.OK, ""},
		"unnamed, none": {t.Context(), other("Closed"), codes.Unauthenticated, rpcerr.ReasonTokenMissing},
		"health is open": {t.Context(), func(ctx context.Context) error {
			_, err := healthpb.NewHealthClient(conn).Check(ctx, new(healthpb.HealthCheckRequest))
			return err
		}, codes.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.call(tc.ctx)
			if tc.code == codes.OK && err == nil {
				return
			}
			wantStatus(t, err, tc.code, tc.reason)
		})
	}
	write(t, path, []byte("dashboard read short\n"))
	if err := s.Reload(nil); err == nil || strings.Contains(err.Error(), "short\"") {
		t.Errorf("reload of a bad file: %v", err)
	}
	if err := projects(as("read-secret-0123456")); err != nil {
		t.Errorf("old tokens after a failed reload: %v", err)
	}
	write(t, path, []byte("dashboard read another-secret-01\n"))
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, projects(as("read-secret-0123456")), codes.Unauthenticated, rpcerr.ReasonTokenUnknown)
	if err := projects(as("another-secret-01")); err != nil {
		t.Error(err)
	}
}

// Streams end with the token that they were opened with, and a group that is bound
// to a token is closed to others.
func TestTokensOfStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	file := func(lines ...string) { write(t, path, []byte(strings.Join(lines, "\n")+"\n")) }
	const dash, desk, ops = "dash read dash-secret-0123456", "desk consume:desk desk-secret-0123456", "ops admin ops-secret-0123456"
	file(dash, desk, ops)
	l := newFakeLog(10)
	l.add("news")
	s := newServer(t, newReader(sample()), rpc.Options{TokensFile: path, Changelog: l})
	_, conn := serveServer(t, s)
	log := pb.NewChangelogServiceClient(conn)
	as := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token+"-secret-0123456")
	}
	consume := func(token, group string) (pb.ChangelogService_ConsumeClient, error) {
		ss, err := log.Consume(as(token), &pb.ConsumeRequest{Group: group, MemberId: token, Follow: true})
		if err == nil {
			_, err = ss.Recv()
		}
		return ss, err
	}
	_, err := consume("dash", "desk")
	wantStatus(t, err, codes.PermissionDenied, rpcerr.ReasonScopeMissing)
	_, err = log.CommitOffset(as("dash"), &pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: 1})
	wantStatus(t, err, codes.PermissionDenied, rpcerr.ReasonScopeMissing)
	var kept, lost []func() error
	for _, x := range []struct{ token, group string }{{"dash", "other"}, {"dash", ""}, {"desk", "desk"}} {
		ss, err := consume(x.token, x.group)
		if err != nil {
			t.Fatalf("%v: %v", x, err)
		}
		end := func() error { return received(ss, nil) }
		if x.token == "desk" {
			kept = append(kept, end)
		} else {
			lost = append(lost, end)
		}
	}
	file(desk, ops)
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	for _, end := range lost {
		wantStatus(t, end(), codes.Unauthenticated, rpcerr.ReasonTokenUnknown)
	}
	l.add("news")
	if _, err := consume("ops", "desk"); err != nil {
		t.Error(err) // and so the stream of desk was there to be fenced
	}
	for _, end := range kept {
		wantStatus(t, end(), codes.Aborted, rpcerr.ReasonFenced)
	}
}

func TestTokenFiles(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"empty":         {"# nobody\n", "no token"},
		"two words":     {"a read\n", "line 1"},
		"scope":         {"\na write 0123456789abcdef\n", "read, consume:GROUP or admin"},
		"no group":      {"a consume: 0123456789abcdef\n", "read, consume:GROUP or admin"},
		"short":         {"a read SECRET\n", "shorter than 16"},
		"bad hash":      {"a read sha256:SECRET\n", "64 hexadecimal"},
		"same name":     {"a read 0123456789abcdef\na read 0123456789abcdeF\n", "line 2"},
		"four words":    {"a read SECRET SECRET\n", "found 4"},
		"too many":      {tooMany(), "more than"},
		"not there":     {"", "read tokens"},
		"no line break": {"a read " + strings.Repeat("S", 100_000), "read tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens")
			if tc.file != "" {
				write(t, path, []byte(tc.file))
			}
			_, err := rpc.New(newReader(sample()), rpc.Options{TokensFile: path})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%v, want %q and the path", err, tc.want)
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

func tooMany() string {
	var b strings.Builder
	for i := range 1025 {
		b.WriteString("n" + big.NewInt(int64(i)).String() + " read 0123456789abcdef\n")
	}
	return b.String()
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := serve(t, newReader(sample()), rpc.Options{RateLimit: 2, RateBurst: 3})
		call := func() error {
			_, err := c.GetProjects(t.Context(), new(pb.ProjectQuery))
			return err
		}
		for range 3 {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		for range 5 { // refused calls cost nothing
			err = call()
			wantStatus(t, err, codes.ResourceExhausted, rpcerr.ReasonRateLimit)
		}
		wait := retryInfo(err)
		if wait <= 0 || wait > 500*time.Millisecond {
			t.Fatalf("told to wait %v", wait)
		}
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), new(healthpb.HealthCheckRequest)); err != nil {
			t.Fatal(err)
		}
		pause := time.NewTimer(wait)
		<-pause.C
		if err := call(); err != nil {
			t.Fatalf("after the told wait: %v", err)
		}
	})
}
