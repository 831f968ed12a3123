package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// file is one entry of a layer; a name that ends in a slash is a folder.
type file struct {
	name  string
	mode  int64
	owner int
	body  []byte
}

// baseFiles is the whole root file system but the program, which has the rules
// of time zones in it.
func baseFiles() []file {
	passwd := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\ncarbond:x:%d:%d:carbond:/var/lib/carbond:/sbin/nologin\n", user, user)
	group := fmt.Sprintf("root:x:0:\ncarbond:x:%d:\n", user)
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/carbond/", mode: 0o755},
		{name: "etc/group", mode: 0o644, body: []byte(group)},
		{name: "etc/passwd", mode: 0o644, body: []byte(passwd)},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, body: certificates()},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/", mode: 0o755},
		{name: "usr/bin/", mode: 0o755},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/carbond/", mode: 0o750, owner: user},
	}
}

// certificates is Mozilla's list as pinned in go.mod, so that the image does
// not depend on the machine that builds it. Roots which Mozilla trusts only for
// certificates up to a date are left out: a PEM file cannot say that.
func certificates() []byte {
	var buf bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// Writing to a bytes.Buffer cannot fail.
			_ = pem.Encode(&buf, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return buf.Bytes()
}

// makeLayer writes the entries in the given order with one time and no names
// of users, which is all that could differ between two runs.
func makeLayer(files []file, epoch time.Time) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{
			Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.body)),
			ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithCompressionLevel(9))
}
