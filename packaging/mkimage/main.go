// Command mkimage writes the container images of carbond without any engine.
//
// Per platform it makes a tarball for `docker load`, and from all of them one
// multi-arch OCI layout in a tar file. The root file system is made from
// nothing: the program, the account, CA certificates and the data folder. The same inputs, version and epoch give the same digests.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options is one run: all platforms of one version.
type options struct {
	version  string
	revision string
	source   string // URL of the repository, may be empty
	out      string
	epoch    time.Time
	binaries []binary
}

// binary is the program for one platform.
type binary struct {
	platform v1.Platform
	path     string
}

// name is the platform as it appears in file names: amd64, arm64, armv7.
func (b binary) name() string { return b.platform.Architecture + b.platform.Variant }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := parse()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var images []v1.Image
	for _, b := range o.binaries {
		img, err := build(o, b)
		if err != nil {
			return fmt.Errorf("build %s: %w", b.name(), err)
		}
		target := filepath.Join(o.out, fmt.Sprintf("carbond_%s_linux_%s.docker.tar", o.version, b.name()))
		if err := saveDocker(target, o.version, img); err != nil {
			return fmt.Errorf("write %s: %w", target, err)
		}
		images = append(images, img)
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		fmt.Println(target, digest)
	}
	target := filepath.Join(o.out, fmt.Sprintf("carbond_%s_oci.tar", o.version))
	digest, err := saveLayout(target, o, images)
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	fmt.Println(target, digest)
	return nil
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.version, "version", "", "version label and tag")
	flag.StringVar(&o.revision, "revision", "", "commit label")
	flag.StringVar(&o.source, "source", "", "repository URL label")
	flag.StringVar(&o.out, "out", "dist", "folder for the images")
	flag.Func("binary", "PLATFORM=FILE, as linux/arm/v7=dist/bin/armhf/carbond; repeat for each platform", func(s string) error {
		platform, path, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want PLATFORM=FILE")
		}
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return err
		}
		o.binaries = append(o.binaries, binary{platform: *p, path: path})
		return nil
	})
	flag.Parse()
	if o.version == "" || len(o.binaries) == 0 {
		return o, errors.New("-version and at least one -binary are required")
	}
	seconds, err := strconv.ParseInt(cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), "0"), 10, 64)
	if err != nil {
		return o, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	o.epoch = time.Unix(seconds, 0).UTC()
	return o, nil
}
