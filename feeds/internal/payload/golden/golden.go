// Package golden compares what a parser made of a fixture with a JSON file that
// was reviewed by hand. `go test ./... -update` rewrites the files. It is for
// tests only.
package golden

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Result is the content of a golden file: the value that a parser returned, or
// its error.
type Result struct {
	Value any    `json:"value,omitempty"`
	Error string `json:"error,omitempty"`
}

// Check compares v and err with testdata/golden/<name>.json.
func Check(tb testing.TB, name string, v any, err error) {
	tb.Helper()
	r := Result{Value: v}
	if err != nil {
		r.Error = err.Error()
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		tb.Fatal(err)
	}
	Compare(tb, name, got.Bytes())
}

// Compare compares got with the content of testdata/golden/<name>.json.
func Compare(tb testing.TB, name string, got []byte) {
	tb.Helper()
	file := filepath.Join("testdata", "golden", filepath.FromSlash(name)+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		tb.Fatalf("%v (run with -update and review)", err)
	}
	if !bytes.Equal(got, want) {
		tb.Errorf("%s: result differs from %s:\n%s", name, file, firstDifference(got, want))
	}
}

// Fixtures lists the files below testdata, with slashes and relative to it,
// without the golden files and the corpora of fuzzing.
func Fixtures(tb testing.TB) []string {
	tb.Helper()
	var names []string
	err := filepath.WalkDir("testdata", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("testdata", path)
		if d.IsDir() && (rel == "golden" || rel == "fuzz") {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			names = append(names, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// Read returns one fixture.
func Read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Body returns what an HTTP client would hand on of a fixture: of a whole answer,
// a .http file, the body with its content type and status.
func Body(tb testing.TB, name string) (body []byte, contentType string, status int) {
	tb.Helper()
	b := Read(tb, name)
	if !strings.HasSuffix(name, ".http") {
		return b, "", 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil {
		tb.Fatal(err)
	}
	return b, resp.Header.Get("Content-Type"), resp.StatusCode
}

// Seed adds every fixture whose name has one of the suffixes to a fuzz corpus.
func Seed(f *testing.F, suffixes ...string) {
	f.Helper()
	for _, name := range Fixtures(f) {
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) }) {
			f.Add(Read(f, name))
		}
	}
}

// firstDifference shows the first lines that differ.
func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return "got  " + a + "\nwant " + b
		}
	}
	return ""
}
