package store

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"carbond/store/change"
)

// Manifest is the last file of a backup, manifest.json.
type Manifest struct {
	Format  int            `json:"format"`
	Made    time.Time      `json:"made"`
	Offset  change.Offset  `json:"offset"` // newest offset when it began; the copy may hold more
	LSN     string         `json:"lsn"`
	Source  change.Source  `json:"source"`
	Oldest  change.Offset  `json:"oldest"`
	History change.History `json:"history"`
	Version string         `json:"version"` // of carbond
	Files   []BackupFile   `json:"files"`   // all others; format 1 has no list
}

// BackupFile is a file of a backup.
type BackupFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	manifestName   = "manifest.json"
	backupFormat   = 2
	maxManifest    = 64 << 20
	groupsName     = "groups.db"
	checkpointName = "checkpoint.db"
	sourceName     = "source.json"
	logName        = "log"
)

// Backup writes a consistent copy of the data directory to w as a tar archive,
// while writing goes on: what replication remembers, the consumer groups, the
// checkpoint, then every segment, so that the log in the copy reaches at least as
// far as the others. The manifest comes last, with the checksum of each. Retention
// is held back meanwhile.
func (s *Store) Backup(ctx context.Context, w io.Writer, version string) error {
	s.backups.Add(1)
	defer s.backups.Add(-1)
	s.trimming.Lock() // a round of retention that has begun ends first
	oldest := s.changelog.Oldest()
	s.trimming.Unlock()
	pos := s.Position()
	a := &archive{t: tar.NewWriter(&ctxWriter{ctx, w}), made: time.Now()}
	err := func() error {
		if err := a.copySource(s.dir); err != nil {
			return err
		}
		if err := s.groups.CopyTo(a.put(groupsName)); err != nil {
			return err
		}
		if err := s.ckpt.copyTo(logDir(s.dir), a.put(checkpointName)); err != nil {
			return err
		}
		if err := s.changelog.CopyTo(func(name string) func(int64) (io.Writer, error) { return a.put(logName + "/" + name) }); err != nil {
			return err
		}
		return a.finish(Manifest{
			Format: backupFormat, Made: a.made.UTC(), Offset: pos.Offset, LSN: pos.LSN.String(),
			Source: pos.Source, Oldest: oldest, History: s.History(), Version: version,
		})
	}()
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// archive is a tar file that notes what was put into it.
type archive struct {
	t     *tar.Writer
	made  time.Time
	files []BackupFile
	sum   hash.Hash // of the last file
}

// put begins a file.
func (a *archive) put(name string) func(size int64) (io.Writer, error) {
	return func(size int64) (io.Writer, error) {
		a.seal()
		if err := a.t.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Size: size, ModTime: a.made, Format: tar.FormatPAX}); err != nil {
			return nil, err
		}
		a.files = append(a.files, BackupFile{Name: name, Size: size})
		a.sum = sha256.New()
		return io.MultiWriter(a.t, a.sum), nil
	}
}

// seal notes the checksum of the last file.
func (a *archive) seal() {
	if n := len(a.files); n > 0 {
		a.files[n-1].SHA256 = hex.EncodeToString(a.sum.Sum(nil))
	}
}

// copySource adds what replication remembers, if there is anything.
func (a *archive) copySource(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, sourceName)) // replaced as a whole, never changed
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := a.put(sourceName)(int64(len(b)))
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// finish adds the manifest and ends the archive.
func (a *archive) finish(m Manifest) error {
	a.seal()
	m.Files = a.files
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	w, err := a.put(manifestName)(int64(len(b)))
	if err == nil {
		_, err = w.Write(b)
	}
	return errors.Join(err, a.t.Close())
}

// ctxWriter ends a copy when its context ends.
type ctxWriter struct {
	ctx context.Context // of the one call that made the writer
	w   io.Writer
}

func (c *ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
