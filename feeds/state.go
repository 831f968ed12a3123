package feeds

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/store/durable"
)

// stateFormat is the number of the state file's format. A file with another
// number is set aside like a damaged one: all it holds can be learned again.
const stateFormat = 1

// feedState is what is remembered of one feed beside the source's own memory.
type feedState struct {
	URL           string     `json:"url,omitempty"` // fingerprint of the configuration; another one starts afresh
	LastPoll      time.Time  `json:"last_poll,omitzero"`
	LastSuccess   time.Time  `json:"last_success,omitzero"`
	NextDue       time.Time  `json:"next_due,omitzero"`
	Failures      int        `json:"failures,omitempty"` // consecutive
	Items         int        `json:"items,omitempty"`
	Polls         uint64     `json:"polls,omitempty"`
	LastError     string     `json:"last_error,omitempty"`
	LastErrorKind fetch.Kind `json:"last_error_kind,omitempty"`
	LastErrorAt   time.Time  `json:"last_error_at,omitzero"`
	Advice        string     `json:"advice,omitempty"` // about LastError
	NotFoundSince time.Time  `json:"not_found_since,omitzero"`
	Disabled      string     `json:"disabled,omitempty"` // reason
	DisabledAt    time.Time  `json:"disabled_at,omitzero"`
	Notes         []string   `json:"notes,omitempty"`
}

// stateFile is the content of the main state file.
type stateFile struct {
	Format int                        `json:"format"`
	Feeds  map[string]feedState       `json:"feeds"`
	Hosts  map[string]fetch.HostState `json:"hosts,omitempty"`
	// Memory holds the small memories of sources (fetch.Validators). Large ones have
	// files of their own, beside this one.
	Memory map[string]json.RawMessage `json:"memory,omitempty"`
}

// memoryInline is the largest memory that is kept in the main file.
const memoryInline = 4 << 10

// memoryPath is the file for the large memory of one source.
func memoryPath(path, name string) string {
	ext := filepath.Ext(path)
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, name)
	return strings.TrimSuffix(path, ext) + "-" + safe + ext
}

// loadState reads a state file. A missing file is an empty state; a damaged one
// is renamed aside, with a warning, and is an empty state too.
func loadState(path string, log *slog.Logger) stateFile {
	empty := stateFile{Format: stateFormat, Feeds: map[string]feedState{}, Memory: map[string]json.RawMessage{}}
	var s stateFile
	if !readJSON(path, &s, log) {
		return empty
	}
	if s.Format != stateFormat {
		setAside(path, fmt.Errorf("format %d, this version knows %d", s.Format, stateFormat), log)
		return empty
	}
	if s.Feeds == nil {
		s.Feeds = empty.Feeds
	}
	if s.Memory == nil {
		s.Memory = empty.Memory
	}
	return s
}

// loadMemory returns the memory of one source, nil when there is none.
func (s stateFile) loadMemory(path, name string, log *slog.Logger) json.RawMessage {
	if m := s.Memory[name]; m != nil {
		return m
	}
	var m json.RawMessage
	if !readJSON(memoryPath(path, name), &m, log) {
		return nil
	}
	return m
}

// readJSON decodes the file at path into v and reports whether it did.
func readJSON(path string, v any, log *slog.Logger) bool {
	if path == "" {
		return false
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		log.Warn("feed state unreadable, starting without it", "path", path, "error", err)
		return false
	}
	if err := json.Unmarshal(b, v); err != nil {
		setAside(path, err, log)
		return false
	}
	return true
}

// setAside renames a damaged state file, so that it can be looked at and does
// not stand in the way.
func setAside(path string, cause error, log *slog.Logger) {
	aside := path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		log.Warn("feed state damaged, starting without it", "path", path, "error", cause)
		return
	}
	log.Warn("feed state damaged, set aside and starting without it", "path", path, "aside", aside, "error", cause)
}

// writeFile replaces the file at path, with secrets such as cookies in it.
func writeFile(path string, data []byte) error {
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = durable.Replace(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save feed state: %w", err)
	}
	return nil
}
