package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
	"carbond/store/internal/group"
	"carbond/store/internal/keyfilter"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Report is what Check found.
type Report struct {
	Segments   int
	Records    uint64
	Oldest     change.Offset
	Position   change.Position
	Checkpoint change.Offset
	Rows       map[string]int // rows in the state that checkpoint and log lead to
	History    change.History // its id is "" when the directory has none yet
	// Rebuilt is set when the log reaches back to its beginning, so that the
	// checkpoint could be compared with a replay from nothing.
	Rebuilt  bool
	Problems []error
}

// Check walks every segment, the checkpoint and the invariants that tie them
// together, without changing anything: structure, checksums, gaps, seals, the
// completeness of each record against the state it applies to, the checkpoint's
// offset against the log, and, while the log reaches back to its beginning, that
// the checkpoint equals a replay. The daemon must not have the directory open.
func Check(dir string) (*Report, error) {
	if err := unfinished(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(logDir(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no changelog", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	r := &Report{Rows: map[string]int{}}
	ck, ckErr := readCheckpoint(checkpointPath(dir))
	if ckErr != nil {
		r.Problems = append(r.Problems, ckErr)
	}
	w := &walker{dir: dir, path: checkpointPath(dir), report: r, dict: newDictionary(), full: view.New(0), ck: ck}
	r.Segments, r.Oldest, r.History, err = changelog.Files(logDir(dir))
	if err != nil {
		return nil, err
	}
	r.Rebuilt = r.Oldest == r.History.After(0)
	tail, errs := changelog.Check(logDir(dir), w.block)
	r.Problems = append(r.Problems, errs...)
	state, err := decodeCommitState(tail.State)
	if err != nil {
		r.Problems = append(r.Problems, err)
	}
	r.Position = state.position(tail.Visible)
	w.finish(tail)
	if err := group.Check(groupsPath(dir), tail.Visible, r.History); err != nil {
		r.Problems = append(r.Problems, err)
	}
	return r, nil
}

// Standing returns the position of a directory that no daemon has open, without
// changing what it holds: the zero position for one without a changelog. Errors:
// ErrLocked.
func ReadPosition(dir string) (change.Position, error) {
	if _, err := os.Stat(logDir(dir)); errors.Is(err, fs.ErrNotExist) {
		return change.Position{}, nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return change.Position{}, err
	}
	defer lock.Close()
	tail, err := changelog.LastTail(logDir(dir))
	if err != nil {
		return change.Position{}, err
	}
	state, err := decodeCommitState(tail.State)
	return state.position(tail.Visible), err
}

// content is a checkpoint read into memory.
type content struct {
	applied change.Offset
	dict    dictionary
	state   *view.State
}

func readCheckpoint(path string) (*content, error) {
	f, err := checkpoint.Open(path, checkpoint.Options{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a start replays the log from its beginning
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if errs := f.Check(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := &content{dict: newDictionary(), state: view.New(0)}
	if c.applied, err = loadRows(f, &c.dict, c.state); err != nil {
		return nil, err
	}
	return c, nil
}

// walker checks what the blocks mean.
type walker struct {
	dir    string
	path   string // of the checkpoint
	report *Report
	dict   dictionary
	full   *view.State       // replay from nothing, while the log has its beginning
	ck     *content          // checkpoint, brought forward by the log; nil when there is none
	filter *keyfilter.Filter // of the segment that is walked, nil for none
}

func (w *walker) block(b changelog.Block, relations map[uint32][]byte) error {
	for number, encoded := range relations {
		if err := w.dict.load(number, encoded); err != nil {
			return err
		}
	}
	w.keys(b)
	n := 0
	for it, err := range record.All(b.Data, b.First) {
		if err == nil && !it.Ends {
			n++
			err = w.change(it)
		}
		if err != nil {
			return err
		}
	}
	if n != b.Count {
		return fmt.Errorf("block holds %d changes, its frame says %d", n, b.Count)
	}
	return nil
}

// keys checks that the key filter of a segment, where there is one, has the projects of a
// block.
func (w *walker) keys(b changelog.Block) {
	f, err := keyfilter.Read(logDir(w.dir), b.First)
	switch {
	case err == nil:
		w.filter = f
	case !errors.Is(err, fs.ErrNotExist):
		w.report.Problems = append(w.report.Problems, err)
	}
	if f = w.filter; f == nil || b.First > f.Last {
		w.filter = nil
		return
	}
	missing := b.Last() > f.Last
	schema := func(number uint32) (*view.Schema, error) {
		if sh, ok := w.dict.byNumber[number]; ok {
			return sh, nil
		}
		return nil, fmt.Errorf("relation %d is not in the dictionary", number)
	}
	err = projectsIn(b, schema, func(id string) {
		if at, ok := f.Next(id, b.First); !ok || at > b.First {
			missing = true
		}
	})
	if err == nil && missing { // what is wrong with the block itself is told elsewhere
		w.filter = nil
		w.report.Problems = append(w.report.Problems, fmt.Errorf("%s: %w: a change behind offset %d is missing", keyfilter.Path(logDir(w.dir), f.First), keyfilter.ErrDamaged, b.First))
	}
}

func (w *walker) change(it *record.Item) error {
	at, e := it.Offset, it.Entry
	w.report.Records++
	sh, ok := w.dict.byNumber[e.Relation]
	if !ok {
		return fmt.Errorf("offset %d: relation %d is not in the dictionary", at, e.Relation)
	}
	for _, r := range []change.Row{e.Before, e.After} {
		if sh.Table == view.Plain {
			break // as the source sent it
		}
		for i, v := range r.All() {
			if v.Kind == change.Unchanged || i >= len(sh.Relation.Columns) {
				return fmt.Errorf("offset %d: a row of %s is not complete", at, sh.Relation.Name)
			}
		}
	}
	if sh.Table != view.Plain && e.Op == change.Update && e.Before == "" {
		return fmt.Errorf("offset %d: the row of %s before is missing", at, sh.Relation.Name)
	}
	if w.report.Rebuilt {
		if err := apply(w.full, sh, e, at); err != nil {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		if w.ck != nil && at == w.ck.applied {
			w.compareStates()
		}
	}
	if w.ck != nil && at > w.ck.applied {
		return apply(w.ck.state, sh, e, at)
	}
	return nil
}

// compareStates checks that the checkpoint equals the replay at its offset.
func (w *walker) compareStates() {
	for i, name := range change.Tables() {
		t := view.Table(i)
		if a, b := w.full.Len(t), w.ck.state.Len(t); a != b {
			w.problem("checkpoint has %d rows of %s at offset %d, a replay has %d", b, name, w.ck.applied, a)
		}
		w.full.Scan(t, "", func(e view.Entry) bool {
			c, ok := w.ck.state.Get(t, e.Key)
			if !ok || c.Row != e.Row || c.Schema.Number != e.Schema.Number {
				w.problem("checkpoint differs from a replay at offset %d: %s %q", w.ck.applied, name, e.Key)
				return false
			}
			return true
		})
	}
}

func (w *walker) problem(format string, args ...any) {
	w.report.Problems = append(w.report.Problems, fmt.Errorf("%s: %w: %s", w.path, ErrCheckpoint, fmt.Sprintf(format, args...)))
}

func (w *walker) finish(tail changelog.Tail) {
	r := w.report
	end := w.full
	if w.ck != nil {
		r.Checkpoint = w.ck.applied
		end = w.ck.state
		if w.ck.applied > tail.Visible {
			w.problem("checkpoint stands at offset %d, ahead of the log's end at %d", w.ck.applied, tail.Visible)
		}
	}
	if r.Oldest > r.History.After(r.Checkpoint) {
		w.problem("checkpoint stands at offset %d, but the log begins at %d", r.Checkpoint, r.Oldest)
	}
	for i, name := range change.Tables() {
		r.Rows[name] = end.Len(view.Table(i))
	}
}

// RebuildCheckpoint sets the checkpoint aside and lets the next Open replay the
// whole log. It refuses when the log does not reach back to its beginning.
func RebuildCheckpoint(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unfinished(dir); err != nil {
		return err
	}
	l, err := changelog.Open(logDir(dir), changelog.Options{})
	if err != nil {
		return err
	}
	oldest, begin := l.Oldest(), l.History().After(0)
	if err := l.Close(); err != nil {
		return err
	}
	if oldest > begin {
		return fmt.Errorf("rebuild checkpoint: the changelog begins at offset %d, so the checkpoint cannot be made from it; restore %s from a backup, or move it aside to copy everything again from Postgres", oldest, dir)
	}
	path := checkpointPath(dir)
	if err := os.Rename(path, path+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rebuild checkpoint: %w", err)
	}
	return nil
}
