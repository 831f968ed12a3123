// Package certs keeps the TLS material of one listener and reads it again on
// request, without closing connections or the listener.
//
// A reload is all or nothing: files that do not fit together leave the old
// material in use and are named in the error.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"carbond/cmd/carbond/internal/config"
)

// Files names PEM files. ClientCA is optional; with it clients must present a
// certificate that it signed.
type Files struct {
	Cert, Key, ClientCA string
}

// Source serves the current material to new connections.
type Source struct {
	current atomic.Pointer[material]
	protos  []string
}

type material struct {
	config   *tls.Config
	notAfter time.Time
}

// Load reads the files. protos are the ALPN protocols of the listener, such as "h2".
func Load(f Files, protos ...string) (*Source, error) {
	s := &Source{protos: protos}
	return s, s.Reload(f)
}

// Reload reads the files again; on an error the old material stays in use.
func (s *Source) Reload(f Files) error {
	use, err := s.Prepare(f)
	if err == nil {
		use()
	}
	return err
}

// Prepare reads the files again. What it has read is in use once use is called.
//
// That replaces the whole configuration of the listener: its session ticket keys
// go with it, so that no session from before outlives a withdrawn authority.
func (s *Source) Prepare(f Files) (use func(), err error) {
	m, err := read(f, s.protos)
	if err != nil {
		return nil, err
	}
	return func() { s.current.Store(m) }, nil
}

// NotAfter returns when the certificate expires.
func (s *Source) NotAfter() time.Time { return s.current.Load().notAfter }

// Config returns a server configuration that follows reloads.
func (s *Source) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: s.protos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.current.Load().config, nil
		},
		// Unused as GetConfigForClient always answers, but libraries look for it
		// to see that a certificate is there.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &s.current.Load().config.Certificates[0], nil
		},
	}
}

func read(f Files, protos []string) (*material, error) {
	certPEM, err := config.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	keyPEM, err := config.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("pair certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	m := &material{
		config:   &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protos, Certificates: []tls.Certificate{pair}},
		notAfter: pair.Leaf.NotAfter,
	}
	if f.ClientCA == "" {
		return m, nil
	}
	if m.config.ClientCAs, err = Pool(f.ClientCA); err != nil {
		return nil, err
	}
	m.config.ClientAuth = tls.RequireAndVerifyClientCert
	return m, nil
}

// ErrNoCertificate is wrapped when a file of authorities holds none.
var ErrNoCertificate = errors.New("no PEM certificate in the file")

// Pool reads a file of PEM certificates.
func Pool(path string) (*x509.CertPool, error) {
	b, err := config.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read certificate authorities %s: %w", path, ErrNoCertificate)
	}
	return pool, nil
}
