package main

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the root of the module, seen from this folder.
const module = "../.."

// arrows says what the packages of a folder may import of this module. The
// longest matching folder counts. Tests may in addition import any package
// whose last element ends in "test" (helpers), and their own folder's packages.
var arrows = map[string][]string{
	"store/change":                  {},
	"store":                         {"store"},
	"store/durable":                 {},
	"replicate":                     {"store/change", "store/durable", "replicate"},
	"rpc":                           {"store/change", "proto/carbon", "rpc"},
	"feeds":                         {"store/change", "store/durable", "feeds"},
	"proto":                         {},
	"cmd":                           {"*"},
	"cmd/carbond/internal":          {},
	"cmd/carbond/internal/certs":    {"cmd/carbond/internal/config"},
	"cmd/carbond/internal/client":   {"cmd/carbond/internal/admin", "cmd/carbond/internal/certs", "cmd/carbond/internal/config", "store/change", "proto/carbon"},
	"cmd/carbond/internal/console":  {"cmd/carbond/internal/admin", "cmd/carbond/internal/trend", "proto/carbon", "store/change"},
	"cmd/carbond/internal/fleet":    {"cmd/carbond/internal/client", "replicate/pgconf", "store", "proto/carbon"}, // joins by a backup, asks other nodes, keeps groups in Postgres
	"cmd/carbond/internal/daemon":   {"*"},                                                                        // wires the stages
	"packaging":                     {},
	"cmd/carbond/internal/e2e":      {"*"}, // drives the whole program from outside
	"cmd/carbond/internal/feedse2e": {"*"}, // the same for the feeds
	"cmd/carbond/internal/bench":    {"*"}, // measures every stage
	"cmd/carbond/internal/faults":   {"*"}, // tests alone: stores on failing disks
	// A stage of its own behind the store, as rpc is, but only cmd has use for it.
	"cmd/carbond/internal/viewfile": {"store", "cmd/carbond/internal/viewfile"},
}

// testArrows are what tests may import besides, in place of a fake.
var testArrows = map[string]string{
	"rpc/kafka":   "store", // messages are numbered there, and groups kept
	"rpc/webhook": "store", // deliveries follow a real changelog
	"rpc/web":     "store", // rows, versions and history come from there
}

// onlyIn names modules that one folder alone may import, with the reason.
var onlyIn = map[string]string{
	"go.yaml.in/yaml/v3":                 "cmd/carbond/internal/config", // packages get Options, not files
	"github.com/spf13/cobra":             "cmd/carbond",                 // the command line is cmd's
	"github.com/jackc/pglogrepl":         "replicate",                   // only replicate speaks pgoutput
	"go.etcd.io/bbolt":                   "store",                       // only the store writes files
	"github.com/hanwen/go-fuse/v2":       "cmd/carbond/internal/faults", // for tests
	"github.com/hashicorp/golang-lru/v2": "rpc",                         // the cache lives beside the API
}

// The sizes that make somebody look again. A limit of lines alone shatters, and one
// of files alone makes long files.
const (
	maxLines     = 600 // of a file
	maxFunction  = 80  // lines of a function
	maxFiles     = 20  // of a package
	maxMainFiles = 32  // of cmd/carbond, which has one for each command
)

// largePackages are those that still have more files. None may be added.
var largePackages = map[string]bool{}

// longFunctions are those that still are longer. None may be added.
var longFunctions = map[string]bool{}

// goFile is one parsed file.
type goFile struct {
	path string // from the module root, with slashes
	dir  string
	test bool
	gen  bool
	src  []byte
	ast  *ast.File
	fset *token.FileSet
}

// goFiles parses the module. Nested modules and testdata are not part of it.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(module, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a build or an editor took it away meanwhile
			}
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != module && (strings.HasPrefix(name, ".") || name == "testdata" || name == "dist" || nested(p)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f := goFile{src: src, fset: token.NewFileSet(), test: strings.HasSuffix(p, "_test.go")}
		if f.ast, err = parser.ParseFile(f.fset, p, src, parser.ParseComments); err != nil {
			return err
		}
		rel, err := filepath.Rel(module, p)
		f.path = filepath.ToSlash(rel)
		f.dir = strings.TrimSuffix(f.path, "/"+d.Name())
		f.gen = ast.IsGenerated(f.ast)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files below %s: the walk is broken", len(files), module)
	}
	return files
}

func nested(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// within reports whether path is folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func rule(dir string) (allowed []string, found bool) {
	best := ""
	for folder := range arrows {
		if within(dir, folder) && len(folder) >= len(best) {
			best, found = folder, true
		}
	}
	return arrows[best], found
}

func TestImportArrows(t *testing.T) {
	for _, f := range goFiles(t) {
		allowed, found := rule(f.dir)
		if !found {
			t.Errorf("%s: no rule for this folder; add it to arrows with a reason", f.path)
			continue
		}
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			checkForeign(t, f, path)
			own, ok := strings.CutPrefix(path, "carbond/")
			if !ok || arrowAllowed(f, own, allowed) {
				continue
			}
			t.Errorf("%s imports %s: allowed are %v", f.path, own, allowed)
		}
	}
}

func arrowAllowed(f goFile, path string, allowed []string) bool {
	if f.test && (strings.HasSuffix(path, "test") || within(path, f.dir) || path == testArrows[f.dir]) {
		return true
	}
	for _, a := range allowed {
		if a == "*" || within(path, a) {
			return true
		}
	}
	return false
}

// checkForeign keeps libraries in the one folder that needs them.
func checkForeign(t *testing.T, f goFile, path string) {
	t.Helper()
	for lib, folder := range onlyIn {
		if within(path, lib) && !within(f.dir, folder) && !f.test {
			t.Errorf("%s imports %s: only %s may", f.path, path, folder)
		}
	}
	std := !strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
	if within(f.dir, "store/change") && !std && !f.test {
		t.Errorf("%s imports %s: store/change has only the standard library", f.path, path)
	}
}

// TestSize holds files, functions and packages to their limits; tests and generated
// code are free.
func TestSize(t *testing.T) {
	files := map[string]int{}
	for _, f := range goFiles(t) {
		if f.test || f.gen {
			continue
		}
		files[f.dir]++
		if n := bytes.Count(f.src, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: cut it by subject", f.path, n, maxLines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			if name := f.dir + "." + fn.Name.Name; n > maxFunction != longFunctions[name] {
				t.Errorf("%s (%s) has %d lines, the limit is %d (on the list of the longer ones: %t)", name, f.path, n, maxFunction, longFunctions[name])
			}
		}
	}
	for dir, n := range files {
		limit := maxFiles
		if dir == "cmd/carbond" {
			limit = maxMainFiles
		}
		if n > limit != largePackages[dir] {
			t.Errorf("%s has %d files, the limit is %d (on the list of the larger ones: %t)", dir, n, limit, largePackages[dir])
		}
	}
}

// banned calls, with the reason. Tests and cmd may print and exit; nobody sleeps.
func TestBans(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.gen {
			continue
		}
		// Inside a testing/synctest bubble the clock is a fake one.
		fakeClock := f.test && bytes.Contains(f.src, []byte(`"testing/synctest"`))
		library := !f.test && !within(f.dir, "cmd") && !within(f.dir, "packaging")
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s: func init has effects at import; pass what is needed", f.fset.Position(fn.Pos()))
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := pkg.Name + "." + sel.Sel.Name
			switch {
			case name == "time.Sleep" && !fakeClock:
				t.Errorf("%s: time.Sleep; wait for the event, or use a timer with the context", f.fset.Position(n.Pos()))
			case library && (strings.HasPrefix(name, "fmt.Print") || name == "os.Exit" || strings.HasPrefix(name, "log.Fatal")):
				t.Errorf("%s: %s in a library; return an error or use the logger", f.fset.Position(n.Pos()), name)
			case library && (name == "prometheus.MustRegister" || name == "prometheus.DefaultRegisterer" || name == "slog.SetDefault"):
				t.Errorf("%s: %s is global; use what was passed", f.fset.Position(n.Pos()), name)
			}
			return true
		})
	}
}
