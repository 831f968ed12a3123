package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultPath is the file that is read when none is named.
const DefaultPath = "/etc/carbond/carbond.yaml"

// maxFile bounds the configuration file and secret files.
const maxFile = 1 << 20

// Options says where to look. The zero Options read only the defaults.
type Options struct {
	Path  string            // "" means DefaultPath, which may be missing
	Env   []string          // "K=V" as os.Environ gives them
	Flags map[string]string // key name -> value, strongest layer
}

// Load reads all layers and checks them together. The error wraps ErrInvalid
// and is a Problems when the settings are at fault. Warnings are things that
// are allowed but probably not meant.
func Load(opt Options) (*Config, []Problem, error) {
	l := &loader{
		cfg: &Config{from: map[string]string{}},
	}
	l.env, l.blank = envMap(opt.Env)
	l.keys = l.cfg.keys()
	l.byName = make(map[string]*Key, len(l.keys))
	for i := range l.keys {
		l.byName[l.keys[i].Name] = &l.keys[i]
	}
	l.defaults()
	l.credentials()
	l.file(opt.Path)
	l.environment()
	for _, name := range slices.Sorted(maps.Keys(opt.Flags)) {
		l.set(name, opt.Flags[name], "flag --"+strings.NewReplacer(".", "-", "_", "-").Replace(name), 0)
	}
	l.check()
	if len(l.problems) > 0 {
		l.problems.sort()
		return nil, l.warnings, l.problems
	}
	return l.cfg, l.warnings, nil
}

// Default returns the configuration of an empty file in an empty environment.
func Default() *Config {
	l := &loader{cfg: &Config{from: map[string]string{}}}
	l.keys = l.cfg.keys()
	l.defaults()
	return l.cfg
}

type loader struct {
	cfg      *Config
	keys     []Key
	byName   map[string]*Key
	env      map[string]string
	blank    map[string]bool // variables that are there and empty
	problems Problems
	warnings Problems
	bad      map[string]bool // keys with a problem, not checked further
}

// envMap returns the variables that are set, and those that are empty, which
// counts as not set. The last of several counts.
func envMap(env []string) (set map[string]string, blank map[string]bool) {
	set, blank = make(map[string]string, len(env)), map[string]bool{}
	for _, kv := range env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		if v == "" {
			delete(set, k)
		} else {
			set[k] = v
		}
		blank[k] = v == ""
	}
	return set, blank
}

// overridden reports whether the environment gives a secret. A file with a
// weaker value of it is not opened then: it may be gone.
func (l *loader) overridden(name string) bool {
	k := l.byName[name]
	env := k.Env()
	return l.env[env] != "" || l.env[env+"_FILE"] != "" || k.blank && l.blank[env]
}

func (l *loader) defaults() {
	l.bad = map[string]bool{}
	for _, k := range l.keys {
		if k.Default == "" {
			continue
		}
		if err := k.set(k.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", k.Name, err))
		}
	}
	l.cfg.DataDir = "./carbond-data"
	switch {
	case l.env["STATE_DIRECTORY"] != "":
		first, _, _ := strings.Cut(l.env["STATE_DIRECTORY"], ":")
		l.cfg.DataDir = first
	case l.env["INVOCATION_ID"] != "":
		l.cfg.DataDir = "/var/lib/carbond"
	}
}

// set gives a key a value and remembers where it came from.
func (l *loader) set(name, value, where string, line int) {
	k := l.byName[name]
	if err := k.set(value); err != nil {
		l.bad[name] = true
		text := err.Error()
		if k.Secret() {
			text = "malformed secret"
		}
		l.problems.add(where, line, "%s: %s", name, text)
		return
	}
	l.cfg.from[name] = where
}

// secretFile gives a secret key the content of a file, without the line end
// that editors add.
func (l *loader) secretFile(name, path, where string, line int) {
	v, err := readSecret(path)
	if err != nil {
		l.bad[name] = true
		l.problems.add(where, line, "%s_file: %s", name, errText(err))
		return
	}
	if v == "" {
		l.bad[name] = true
		l.problems.add(where, line, "%s_file: %s is empty", name, path)
		return
	}
	l.set(name, v, where+" ("+path+")", line)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // a pipe is read once
		l.byName[name].secret.file = path
		l.warnOpen(name+"_file", path)
	}
}

// readSecret reads a file that holds one secret.
func readSecret(path string) (string, error) {
	b, err := ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// credentials reads $CREDENTIALS_DIRECTORY/<key name> for every secret key.
func (l *loader) credentials() {
	dir := l.env["CREDENTIALS_DIRECTORY"]
	if dir == "" {
		return
	}
	for _, k := range l.keys {
		if !k.Secret() || l.overridden(k.Name) {
			continue
		}
		p := filepath.Join(dir, k.Name)
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		l.secretFile(k.Name, p, "credential "+k.Name, 0)
	}
}

// file reads the YAML file. Only the default one may be missing.
func (l *loader) file(path string) {
	explicit := path != ""
	if !explicit {
		path = DefaultPath
	}
	b, err := ReadFile(path)
	if err != nil {
		if !explicit && errors.Is(err, fs.ErrNotExist) {
			return
		}
		l.problems.add("", 0, "%s", errText(err))
		return
	}
	l.cfg.file = path
	l.yaml(path, b)
}

// ReadFile reads a file of at most 1 MiB, whatever kind of file it is: a device may
// have no end.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, not a file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than the limit of %d bytes", path, maxFile)
	}
	return b, err
}

// errText says what an operating-system error means in this place.
func errText(err error) string {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s does not exist", pe.Path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s cannot be read: permission denied (owner and mode must let this user read it)", pe.Path)
	}
	return fmt.Sprintf("read %s: %v", pe.Path, pe.Err)
}
