// Package trend keeps how the daemon did over the last day, beyond its restarts.
//
// Invariants
//
//  1. What cannot be read or written costs history, never the daemon.
//  2. Memory and file are bounded by Keep and Every.
package trend

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// Every is the time between two samples.
	Every = 30 * time.Second
	// Keep is how long a sample is kept.
	Keep = 24 * time.Hour

	most    = int(Keep / Every)
	maxLine = 64 << 10 // bytes of a sample in the file
)

// Sample is the condition of the daemon at one moment.
type Sample struct {
	Unix    int64    `json:"t"`           // seconds
	Ready   bool     `json:"r"`           // as /readyz says
	Lag     float64  `json:"l"`           // seconds behind Postgres
	Offset  uint64   `json:"o"`           // of the changelog
	Failing []string `json:"f,omitempty"` // feeds that fail
}

// Log is the samples of the last Keep, in memory and in a file of one JSON object a
// line. Its methods may be called from any goroutine.
type Log struct {
	path string

	mu      sync.Mutex // guards what follows
	samples []Sample   // oldest first
	lines   int        // of the file
}

// Open reads what the file at path has. A file that is missing is empty, and a line
// that is no sample, as after a crash, is passed over.
func Open(path string, now time.Time) (*Log, error) {
	l := &Log{path: path}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the history of health: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var s Sample
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.Unix <= now.Unix() {
			l.samples = append(l.samples, s)
		}
	}
	l.drop(now)
	l.lines = 2 * most // the first Add writes the file again, without a torn last line
	if err := lines.Err(); err != nil {
		return l, fmt.Errorf("read the history of health %s: %w", path, err)
	}
	return l, nil
}

// Add keeps a sample.
func (l *Log) Add(s Sample) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
	l.drop(time.Unix(s.Unix, 0))
	if l.lines++; l.lines > 2*most {
		return l.rewrite()
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the history of health: %w", err)
	}
	_, err = f.Write(line(s))
	if end := f.Close(); err == nil {
		err = end
	}
	if err != nil {
		l.lines = 2 * most // the line may be torn
		return fmt.Errorf("keep the history of health: %w", err)
	}
	return nil
}

// Samples returns what is kept, oldest first.
func (l *Log) Samples() []Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Sample(nil), l.samples...)
}

// drop forgets what is older than Keep. The caller holds mu.
func (l *Log) drop(now time.Time) {
	n := max(0, len(l.samples)-most)
	for n < len(l.samples) && l.samples[n].Unix < now.Add(-Keep).Unix() {
		n++
	}
	l.samples = append(l.samples[:0], l.samples[n:]...)
}

// rewrite replaces the file by what is kept. The caller holds mu.
func (l *Log) rewrite() error {
	var b bytes.Buffer
	for _, s := range l.samples {
		b.Write(line(s))
	}
	part := l.path + ".part"
	err := os.WriteFile(part, b.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(part, l.path)
	}
	if err != nil {
		l.lines = 2 * most
		return fmt.Errorf("keep the history of health in %s: %w", filepath.Dir(l.path), err)
	}
	l.lines = len(l.samples)
	return nil
}

// line is a sample as the file has it. Names that do not fit are left out.
func line(s Sample) []byte {
	b, err := json.Marshal(s)
	if err != nil || len(b) >= maxLine {
		s.Failing, s.Lag = nil, 0
		b, _ = json.Marshal(s)
	}
	return append(b, '\n')
}
