package store

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
	"carbond/store/internal/changelog"
)

// Manifest is the first file of a backup, manifest.json.
type Manifest struct {
	Format  int           `json:"format"`
	Made    time.Time     `json:"made"`
	Offset  change.Offset `json:"offset"` // newest offset when it began; the copy may hold more
	LSN     string        `json:"lsn"`
	Source  change.Source `json:"source"`
	Oldest  change.Offset `json:"oldest"`
	Version string        `json:"version"` // of carbond
}

const (
	manifestName   = "manifest.json"
	backupFormat   = 1
	maxManifest    = 1 << 16
	groupsName     = "groups.db"
	checkpointName = "checkpoint.db"
)

// Backup writes a consistent copy of the data directory to w as a tar archive,
// while writing goes on: the consumer groups, then the checkpoint, then every
// segment, so that the log in the copy reaches at least as far as both. It
// holds back retention meanwhile.
func (s *Store) Backup(ctx context.Context, w io.Writer, version string) error {
	s.backups.Add(1)
	defer s.backups.Add(-1)
	s.trimming.Lock() // a round of retention that has begun ends first
	oldest := s.changelog.Oldest()
	s.trimming.Unlock()
	pos := s.Position()
	t := tar.NewWriter(&ctxWriter{ctx, w})
	m, err := json.MarshalIndent(Manifest{
		Format: backupFormat, Made: time.Now().UTC(), Offset: pos.Offset, LSN: pos.LSN.String(),
		Source: pos.Source, Oldest: oldest, Version: version,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	put := func(name string) func(size int64) (io.Writer, error) {
		return func(size int64) (io.Writer, error) {
			err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Size: size, ModTime: time.Now(), Format: tar.FormatPAX})
			return t, err
		}
	}
	err = func() error {
		if _, err := put(manifestName)(int64(len(m))); err != nil {
			return err
		}
		if _, err := t.Write(m); err != nil {
			return err
		}
		if err := s.groups.CopyTo(put(groupsName)); err != nil {
			return err
		}
		if err := s.ckpt.copyTo(logDir(s.dir), put(checkpointName)); err != nil {
			return err
		}
		return s.changelog.CopyTo(func(name string) func(int64) (io.Writer, error) { return put("log/" + name) })
	}()
	if err == nil {
		err = t.Close()
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
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

// Restore unpacks a backup into dir, which must be empty or missing, and checks
// the result as Check does. It returns what the backup says of itself. A failed
// restore leaves no data directory that could be opened by mistake: everything
// is unpacked beside dir and takes its name only when it is whole.
func Restore(dir string, r io.Reader) (*Manifest, *Report, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, nil, fmt.Errorf("restore: %s is not empty; move it aside first", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("restore: %w", err)
	}
	tmp := strings.TrimRight(dir, string(filepath.Separator)) + ".restoring"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, nil, fmt.Errorf("restore: %w", err)
	}
	m, report, err := unpack(tmp, r)
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("the backup is damaged: %w", errors.Join(report.Problems...))
	}
	if err == nil {
		_ = os.Remove(dir) // empty
		err = os.Rename(tmp, dir)
	}
	if err == nil {
		err = boltfile.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		_ = os.RemoveAll(tmp)
		return nil, nil, fmt.Errorf("restore: %w", err)
	}
	return m, report, nil
}

func unpack(tmp string, r io.Reader) (*Manifest, *Report, error) {
	if err := os.MkdirAll(logDir(tmp), 0o750); err != nil {
		return nil, nil, err
	}
	t := tar.NewReader(r)
	var m *Manifest
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read archive: %w", err)
		}
		if m == nil {
			if m, err = readManifest(h, t); err != nil {
				return nil, nil, err
			}
			continue
		}
		if !backupFile(h.Name) {
			return nil, nil, fmt.Errorf("archive holds %q, which is not part of a backup", h.Name)
		}
		if err := writeFile(filepath.Join(tmp, h.Name), t); err != nil {
			return nil, nil, err
		}
	}
	if m == nil {
		return nil, nil, errors.New("archive is empty")
	}
	for _, d := range []string{logDir(tmp), tmp} {
		if err := boltfile.SyncDir(d); err != nil {
			return nil, nil, err
		}
	}
	report, err := Check(tmp)
	if err != nil {
		return nil, nil, err
	}
	if report.Position.Offset < m.Offset {
		return nil, nil, fmt.Errorf("archive ends at offset %d, its manifest says %d: it was cut short", report.Position.Offset, m.Offset)
	}
	return m, report, nil
}

func readManifest(h *tar.Header, r io.Reader) (*Manifest, error) {
	if h.Name != manifestName {
		return nil, fmt.Errorf("archive begins with %q: this is not a backup of carbond", h.Name)
	}
	m := &Manifest{}
	if err := json.NewDecoder(io.LimitReader(r, maxManifest)).Decode(m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if m.Format > backupFormat {
		return nil, fmt.Errorf("backup format %d: %w", m.Format, ErrTooNew)
	}
	return m, nil
}

func backupFile(name string) bool {
	seg, inLog := strings.CutPrefix(name, "log/")
	return name == groupsName || name == checkpointName || inLog && changelog.IsSegment(seg)
}

func writeFile(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
