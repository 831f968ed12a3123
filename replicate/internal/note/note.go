// Package note keeps what replication must remember across restarts and the
// changelog does not hold: one small file beside the changelog, source.json.
//
// Invariants
//
//  1. The file is replaced as a whole, and durable when Change returns. A file
//     that cannot be read is an error and never an empty note: an answer that
//     was forgotten is a wrong one.
//  2. Whatever speaks of rows carries the Copy that brought them, an identity
//     that the changelog commits together with the copy's last part. It holds
//     only while the changelog's position names the same copy, so no order of
//     writing the two files can make it speak of other rows.
package note

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"carbond/replicate/internal/catalog"
	"carbond/store/change"
	"carbond/store/durable"
)

// Note is what the file holds.
type Note struct {
	Timeline Timeline    `json:"timeline,omitzero"`
	Copying  *SlotMarker `json:"copying,omitempty"`
	Verdict  *Verdict    `json:"verdict,omitempty"`
	// Adopted is the setting by which another cluster was taken for the copy's.
	Adopted string `json:"adopted,omitempty"`
	// Marks are the last look at the catalog that the changelog has passed.
	Marks *catalog.Marks `json:"marks,omitempty"`
	// Truncates is the last TRUNCATE of each table that a look may have to explain,
	// of those that the changelog may have passed.
	Truncates map[string]Truncate `json:"truncates,omitempty"`
}

// Truncate is the transaction of a TRUNCATE.
type Truncate struct {
	XID    string     `json:"xid"` // as the catalog shows it
	Commit change.LSN `json:"commit"`
}

// Timeline is on which timeline of which cluster the durable position was last
// known to lie. A server that was restored, or promoted before it had received
// everything, goes on from an earlier position under a new timeline. Once it has
// written as much again, positions alone do not tell any more.
type Timeline struct {
	SystemID string `json:"system_id"`
	Timeline int32  `json:"timeline"`
	// Before are the timelines that led to this one, oldest first. None on
	// timeline 1, and in notes of earlier versions.
	Before []Switch `json:"before,omitempty"`
}

// Switch is where a timeline was left for the next one.
type Switch struct {
	Timeline int32      `json:"timeline"`
	Left     change.LSN `json:"left"`
}

// SlotMarker says which slot a copy that has not ended has made, so that the next
// start may drop that one and no other: Postgres does not note who made a slot.
// It is written before the slot exists and removed when the copy is durable;
// from then on the changelog's position says whose the slot is.
type SlotMarker struct {
	SystemID string `json:"system_id"`
	Database string `json:"database"`
	Slot     string `json:"slot"`
	// Point is where the slot was made. Empty while Postgres has not answered.
	Point string `json:"point,omitempty"`
	// Copy is the identity that the copy will have in the changelog.
	Copy string `json:"copy,omitempty"`
}

// Verdict says that rows are wrong, or that changes are missing, and lasts until
// a new copy has mended it: what shows the trouble may be gone long before.
type Verdict struct {
	Copy   string    `json:"copy,omitempty"` // the copy of which it speaks
	Kind   string    `json:"kind"`           // as in replicate.Kind
	Text   string    `json:"text"`
	Tables []string  `json:"tables,omitempty"` // whose rows are wrong; none for all
	Since  time.Time `json:"since"`
	// Final is set when nothing that the server shows later can disprove it.
	Final bool `json:"final,omitempty"`
}

// file is the form on disk.
type file struct {
	CRC32C string          `json:"crc32c"`
	Source json.RawMessage `json:"source"`
}

// Names of the files that an earlier version wrote in place of this one.
const (
	oldSlotMarker = "copying.json"
	oldTimeline   = "timeline.json"
)

// File is the note of one data directory. It is safe for concurrent use.
type File struct {
	path string

	mu   sync.Mutex // guards all below
	read bool
	old  bool // the files of an earlier version may be there
	note Note
}

// At returns the note at a path, which is read at the first use. With "" it
// lives in memory only.
func At(path string) *File { return &File{path: path} }

// Get returns the present note.
func (f *File) Get() (Note, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.load()
	return f.note, err
}

// Change lets edit change the note and makes it durable. The values behind its
// pointers are not edited, but replaced.
func (f *File) Change(edit func(*Note)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return err
	}
	next := f.note
	edit(&next)
	if reflect.DeepEqual(next, f.note) && !f.old {
		return nil
	}
	if f.path != "" {
		if err := f.write(next); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	f.note = next
	return nil
}

// Forget gives up a note that cannot be read, for a new copy.
func (f *File) Forget() error {
	f.mu.Lock()
	if f.load() != nil {
		f.read, f.old, f.note = true, true, Note{}
	}
	f.mu.Unlock()
	return f.Change(func(*Note) {})
}

func (f *File) load() error {
	if f.read || f.path == "" {
		return nil
	}
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.loadOld(); err == nil {
			f.read = true
		}
		return err
	}
	var on file
	if err == nil {
		err = json.Unmarshal(b, &on)
	}
	if err == nil && on.CRC32C != sum(on.Source) {
		err = errors.New("its checksum is wrong")
	}
	var n Note
	if err == nil {
		err = json.Unmarshal(on.Source, &n)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	f.note, f.read = n, true
	return nil
}

// loadOld takes over what an earlier version has noted.
func (f *File) loadOld() error {
	var n Note
	for name, v := range map[string]any{oldSlotMarker: &n.Copying, oldTimeline: &n.Timeline} {
		path := filepath.Join(filepath.Dir(f.path), name)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f.old = true
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	f.note = n
	return nil
}

func (f *File) write(n Note) error {
	source, err := json.Marshal(n)
	if err != nil {
		return err
	}
	b, err := json.Marshal(file{sum(source), source})
	if err != nil {
		return err
	}
	if err := durable.Replace(f.path, append(b, '\n'), 0o640); err != nil {
		return err
	}
	if !f.old {
		return nil
	}
	for _, name := range []string{oldSlotMarker, oldTimeline} {
		if err := os.Remove(filepath.Join(filepath.Dir(f.path), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f.old = false // one that comes back after a power cut is not looked at
	return nil
}

func sum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
