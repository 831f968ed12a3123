package certs_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/certs/certstest"
)

// serial connects once and returns the serial number of the certificate shown.
func serial(t *testing.T, s *certs.Source, client *tls.Config) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if c.(*tls.Conn).Handshake() == nil {
			_, _ = c.Write([]byte("x"))
		}
	}()
	raw, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, client)
	if err := c.Handshake(); err != nil {
		return "", err
	}
	// With TLS 1.3 a refused client certificate shows at the first read.
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestReloadTakesNewFilesOnly(t *testing.T) {
	ca := certstest.NewCA(t)
	f := certs.Files{}
	f.Cert, f.Key = ca.Issue(t, "localhost")
	s, err := certs.Load(f, "h2")
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	first, err := serial(t, s, client)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(f); err == nil {
		t.Error("a broken certificate was taken")
	}
	if again, err := serial(t, s, client); err != nil || again != first {
		t.Errorf("after a refused reload: %s %v", again, err)
	}
	cert, key := ca.Issue(t, "localhost")
	if err := s.Reload(certs.Files{Cert: cert, Key: key}); err != nil {
		t.Fatal(err)
	}
	if second, err := serial(t, s, client); err != nil || second == first {
		t.Errorf("after a reload: %s %v", second, err)
	}
	if left := time.Until(s.NotAfter()); left < time.Minute || left > 48*time.Hour {
		t.Errorf("expires in %v", left)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	cert, key := ca.Issue(t, "localhost")
	files := certs.Files{Cert: cert, Key: key, ClientCA: ca.File(t)}
	s, err := certs.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	base := func(pairs ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: pairs, MinVersion: tls.VersionTLS12}
	}
	load := func(ca *certstest.CA) tls.Certificate {
		pair, err := tls.LoadX509KeyPair(ca.Issue(t, "client"))
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	if _, err := serial(t, s, base(load(ca))); err != nil {
		t.Errorf("a good client: %v", err)
	}
	if _, err := serial(t, s, base()); err == nil {
		t.Error("a client without certificate got in")
	}
	if _, err := serial(t, s, base(load(other))); err == nil {
		t.Error("a client of another authority got in")
	}
	// What was prepared counts once it is taken into use.
	files.ClientCA = other.File(t)
	use, err := s.Prepare(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := serial(t, s, base(load(ca))); err != nil {
		t.Errorf("before the change: %v", err)
	}
	use()
	if _, err := serial(t, s, base(load(ca))); err == nil {
		t.Error("a client of the withdrawn authority still gets in")
	}
	if _, err := serial(t, s, base(load(other))); err != nil {
		t.Errorf("a client of the new authority: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	ca := certstest.NewCA(t)
	cert, key := ca.Issue(t, "localhost")
	_, otherKey := ca.Issue(t, "localhost")
	for name, f := range map[string]certs.Files{
		"no certificate":     {Cert: "/nonexistent", Key: key},
		"no key":             {Cert: cert, Key: "/nonexistent"},
		"key of another":     {Cert: cert, Key: otherKey},
		"no authorities":     {Cert: cert, Key: key, ClientCA: "/nonexistent"},
		"key as authorities": {Cert: cert, Key: key, ClientCA: key},
	} {
		if _, err := certs.Load(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := certs.Pool(key); !errors.Is(err, certs.ErrNoCertificate) {
		t.Error(err)
	}
}
