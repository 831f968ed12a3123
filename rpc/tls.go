package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// TLSOptions name PEM files. They are read by New and again by Server.Reload.
type TLSOptions struct {
	CertFile string // certificate chain of the server, leaf first
	KeyFile  string // its private key
	// ClientCAFile holds the authorities that sign client certificates; with it
	// every client must present one. "" = clients present none.
	ClientCAFile string
}

// tlsFiles holds the configuration that new connections get. A reload replaces
// the whole tls.Config: its session ticket keys go with it, so that no session
// from before outlives a withdrawn client authority.
type tlsFiles struct {
	opt     TLSOptions
	current atomic.Pointer[tlsState]
}

type tlsState struct {
	config  *tls.Config
	expires time.Time
}

func newTLSFiles(opt TLSOptions) (*tlsFiles, error) {
	f := &tlsFiles{opt: opt}
	st, err := f.read()
	if err != nil {
		return nil, err
	}
	f.current.Store(st)
	return f, nil
}

// read loads the files and checks that they fit together.
func (f *tlsFiles) read() (*tlsState, error) {
	if f.opt.CertFile == "" || f.opt.KeyFile == "" {
		return nil, errors.New("serve TLS: both a certificate file and a key file are needed")
	}
	cert, err := tls.LoadX509KeyPair(f.opt.CertFile, f.opt.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", f.opt.CertFile, f.opt.KeyFile, err)
	}
	leaf := cert.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("parse certificate %s: %w", f.opt.CertFile, err)
		}
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"}, // gRPC refuses connections that did not negotiate it
	}
	if f.opt.ClientCAFile != "" {
		pem, err := os.ReadFile(f.opt.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("read client authorities: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read client authorities: %s holds no PEM certificate", f.opt.ClientCAFile)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return &tlsState{c, leaf.NotAfter}, nil
}

// serverConfig is the configuration of the listener, which asks for the current
// one at each handshake.
func (f *tlsFiles) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return f.current.Load().config, nil
		},
	}
}

func (f *tlsFiles) expiry() time.Time { return f.current.Load().expires }
