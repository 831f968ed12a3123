package main

import (
	"fmt"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A number, because an orchestrator cannot prove that a name is not root.
const user = 65532

// build makes the image of one platform: a base layer that changes rarely, and
// one layer with the program.
func build(o options, b binary) (v1.Image, error) {
	program, err := os.ReadFile(b.path)
	if err != nil {
		return nil, err
	}
	// Docker's media types: they are the ones whose configuration has a health
	// check, and every engine and registry reads them.
	img := mutate.MediaType(empty.Image, types.DockerManifestSchema2)
	img = mutate.ConfigMediaType(img, types.DockerConfigJSON)
	for _, part := range []struct {
		comment string
		files   []file
	}{
		{"account, certificates, data folder", baseFiles()},
		{"carbond " + o.version, []file{{name: "usr/bin/carbond", mode: 0o755, body: program}}},
	} {
		layer, err := makeLayer(part.files, o.epoch)
		if err != nil {
			return nil, fmt.Errorf("layer %q: %w", part.comment, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: o.epoch}, CreatedBy: "mkimage", Comment: part.comment},
		})
		if err != nil {
			return nil, err
		}
	}
	old, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, configure(o, b, old.DeepCopy()))
}

// configure says how the image runs with no further flag.
func configure(o options, b binary, c *v1.ConfigFile) *v1.ConfigFile {
	c.Architecture = b.platform.Architecture
	c.Variant = b.platform.Variant
	c.OS = "linux"
	c.Created = v1.Time{Time: o.epoch}
	c.Config = v1.Config{
		User:         fmt.Sprintf("%d:%d", user, user),
		WorkingDir:   "/var/lib/carbond",
		Entrypoint:   []string{"/usr/bin/carbond"},
		Cmd:          []string{"serve"},
		StopSignal:   "SIGTERM",
		Volumes:      map[string]struct{}{"/var/lib/carbond": {}},
		ExposedPorts: map[string]struct{}{"50051/tcp": {}, "50080/tcp": {}, "9092/tcp": {}},
		Env: []string{
			"PATH=/usr/bin",
			// Loopback is for hosts; in a container only published ports are open.
			"CARBOND_GRPC_LISTEN=0.0.0.0:50051",
			"CARBOND_KAFKA_LISTEN=0.0.0.0:9092",
			"CARBOND_HTTP_LISTEN=0.0.0.0:50080",
			"CARBOND_HTTP_OPEN=no-tokens",
			"CARBOND_DATA_DIR=/var/lib/carbond",
			"CARBOND_LOG_FORMAT=json",
		},
		Healthcheck: &v1.HealthConfig{
			Test:        []string{"CMD", "/usr/bin/carbond", "healthcheck"},
			Interval:    15 * time.Second,
			Timeout:     5 * time.Second,
			StartPeriod: 30 * time.Second,
			Retries:     3,
		},
		Labels: labels(o),
	}
	return c
}

func labels(o options) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "carbond",
		"org.opencontainers.image.description": "Edge appliance that serves carbon-market data over gRPC and HTTP",
		"org.opencontainers.image.licenses":    "MIT",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.created":     o.epoch.Format(time.RFC3339),
	}
	for key, value := range map[string]string{
		"org.opencontainers.image.revision": o.revision,
		"org.opencontainers.image.source":   o.source,
	} {
		if value != "" {
			l[key] = value
		}
	}
	return l
}
