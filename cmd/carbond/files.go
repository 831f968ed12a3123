package main

import (
	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
)

// checkFiles reads the files that the configuration names, so that a wrong path
// is told by check-config and not by the first connection.
func checkFiles(cfg *config.Config) error {
	var problems config.Problems
	add := func(key string, err error) {
		problems = append(problems, config.Problem{Where: cfg.Origin(key), Text: key + ": " + err.Error()})
	}
	if t := cfg.HTTP.TLS; t.Enabled() {
		if _, err := certs.Load(tlsFiles(t)); err != nil {
			add("http.tls_cert", err)
		}
	}
	if !cfg.Embedded() {
		problems = append(problems, checkURLs(cfg)...)
	}
	tlsOK := true
	if t := cfg.GRPC.TLS; t.Enabled() {
		if _, err := certs.Load(tlsFiles(t)); err != nil {
			add("grpc.tls_cert", err)
			tlsOK = false
		}
	}
	if cfg.GRPC.TokensFile != "" && tlsOK {
		if err := checkAPI(cfg); err != nil {
			add("grpc.tokens_file", err)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func tlsFiles(t config.TLS) certs.Files {
	return certs.Files{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA}
}
