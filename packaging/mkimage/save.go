package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// replace writes target through fill, and only as a whole.
func replace(target string, fill func(io.Writer) error) error {
	f, err := os.Create(target + ".part")
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), target)
}

// saveDocker is what `docker load` and `podman load` read: carbond:VERSION, which
// is carbond:latest too, so that `docker run carbond` finds it.
func saveDocker(target, version string, img v1.Image) error {
	tag, err := name.NewTag("carbond:" + version)
	if err != nil {
		return err
	}
	var one bytes.Buffer
	if err := tarball.Write(tag, img, &one); err != nil {
		return err
	}
	// Not compressed once more: the layers are, and podman 4 does not read it.
	return replace(target, func(w io.Writer) error { return alsoTagged(w, &one, "carbond:latest") })
}

// alsoTagged copies what tarball.Write wrote and gives the image one more tag.
// tarball.MultiRefWrite could, but writes tags in an order that changes.
func alsoTagged(w io.Writer, r io.Reader, tag string) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		body, err := io.ReadAll(in)
		if err == nil && h.Name == "manifest.json" {
			body, err = addTag(body, tag)
			h.Size = int64(len(body))
		}
		if err == nil {
			err = out.WriteHeader(h)
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(body); err != nil {
			return err
		}
	}
}

func addTag(manifest []byte, tag string) ([]byte, error) {
	var m tarball.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, err
	}
	for i := range m {
		m[i].RepoTags = append(m[i].RepoTags, tag)
	}
	return json.Marshal(m)
}

// saveLayout writes one OCI layout whose index names every platform.
func saveLayout(target string, o options, images []v1.Image) (v1.Hash, error) {
	dir, err := os.MkdirTemp("", "mkimage-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(dir)

	// empty.Index has OCI's media type, which is what readers of a layout look
	// for; the images in it keep Docker's, for the sake of the health check.
	var index v1.ImageIndex = empty.Index
	for i, img := range images {
		platform := o.binaries[i].platform
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": o.version,
	}))
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, replace(target, func(w io.Writer) error { return pack(w, dir, o.epoch) })
}

// pack writes dir as a tar file; WalkDir gives the names in order.
func pack(w io.Writer, dir string, epoch time.Time) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		err = t.WriteHeader(&tar.Header{
			Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(body)),
			ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		_, err = t.Write(body)
		return err
	})
	return errors.Join(err, t.Close())
}
