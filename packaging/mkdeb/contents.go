package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/goreleaser/nfpm/v2/files"
)

// lister collects contents and remembers the first error, so that the list in
// describe.go reads as a table.
type lister struct {
	options
	work     string
	contents files.Contents
	err      error
}

func (l *lister) add(from, to string, mode fs.FileMode, kind string) {
	if l.err != nil {
		return
	}
	if _, err := os.Stat(from); err != nil {
		l.err = err
		return
	}
	l.contents = append(l.contents, &files.Content{
		Source:      from,
		Destination: to,
		Type:        kind,
		FileInfo:    &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: l.epoch},
	})
}

// tree ships every file below a folder under to.
func (l *lister) tree(from, to string) {
	if l.err != nil {
		return
	}
	l.err = errors.Join(l.err, filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		l.add(name, path.Join(to, filepath.ToSlash(rel)), 0o644, files.TypeFile)
		return l.err
	}))
}

var manual = regexp.MustCompile(`^[a-z.-]+\.([1-9])$`)

// manuals compresses and places each page by its section.
func (l *lister) manuals(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.err = errors.Join(l.err, err)
		return
	}
	seen := map[string]bool{}
	for _, e := range entries {
		m := manual.FindStringSubmatch(e.Name())
		if m == nil {
			l.err = errors.Join(l.err, fmt.Errorf("%s in %s is no manual page", e.Name(), dir))
			return
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			l.err = errors.Join(l.err, err)
			return
		}
		l.zip(text, "/usr/share/man/man"+m[1]+"/"+e.Name()+".gz")
		seen[m[1]] = true
	}
	if !seen["8"] || !seen["5"] {
		l.err = errors.Join(l.err, fmt.Errorf("%s: want pages of sections 8 and 5", dir))
	}
}

// changelogs writes Debian's entry for this version and, if there is one, the
// upstream file.
func (l *lister) changelogs() {
	entry := fmt.Sprintf("carbond (%s-1) stable; urgency=medium\n\n  * Release %s; what changed is in changelog.gz.\n\n -- %s  %s\n",
		l.version, l.version, l.maintainer, l.epoch.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	l.zip([]byte(entry), "/usr/share/doc/carbond/changelog.Debian.gz")

	text, err := os.ReadFile(l.changelog)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.err = errors.Join(l.err, err)
	default:
		l.zip(text, "/usr/share/doc/carbond/changelog.gz")
	}
}

// zip is gzip -9n: best compression, no name and no time in the header.
func (l *lister) zip(text []byte, to string) {
	if l.err != nil {
		return
	}
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		l.err = err
		return
	}
	_, err = w.Write(text)
	name := filepath.Join(l.work, path.Base(to))
	l.err = errors.Join(err, w.Close(), os.WriteFile(name, buf.Bytes(), 0o644))
	l.add(name, to, 0o644, files.TypeFile)
}
