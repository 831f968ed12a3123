package main

import (
	"fmt"
	"os"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
)

// checkFiles opens the files that the configuration names, so that a wrong path
// is told by check-config and not by the first connection.
func checkFiles(cfg *config.Config) error {
	var problems config.Problems
	add := func(key string, err error) {
		problems = append(problems, config.Problem{Where: cfg.Origin(key), Text: key + ": " + err.Error()})
	}
	for section, t := range map[string]config.TLS{"grpc": cfg.GRPC.TLS, "http": cfg.HTTP.TLS} {
		if !t.Enabled() {
			continue
		}
		if _, err := certs.Load(tlsFiles(t)); err != nil {
			add(section+".tls_cert", err)
		}
	}
	if path := cfg.GRPC.TokensFile; path != "" {
		if err := readable(path); err != nil {
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

// readable opens and closes a file.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return f.Close()
}
