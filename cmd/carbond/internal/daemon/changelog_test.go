package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	goflag "flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

var changelogSeed = goflag.Uint64("changelog-seed", 0, "seed of the changelog model test, 0 chooses one")

// truth is one record that consumers see, from the naive model.
type truth struct {
	offset uint64
	table  string
	line   string // as storetest.Model.Log has it
	txn    int
}

// logModel says what the changelog holds, offsets included: the lines of the
// source's own model, and behind each TRUNCATE an offset for each row.
type logModel struct {
	rows map[string]uint64 // of each table
	next uint64
	txns int
	recs []truth
}

// add takes the lines of one transaction.
func (m *logModel) add(lines []string) {
	m.txns++
	for _, line := range lines {
		op, rest, _ := strings.Cut(line, " ")
		table, _, _ := strings.Cut(rest, " ")
		m.recs = append(m.recs, truth{m.next, table, line, m.txns})
		m.next++
		switch op {
		case "c":
			m.rows[table]++
		case "d":
			m.rows[table]--
		case "t":
			m.next += m.rows[table]
			m.rows[table] = 0
		}
	}
}

// lineOfRecord gives an envelope the form of a line of the model.
func lineOfRecord(t testing.TB, r *pb.ChangeRecord) string {
	t.Helper()
	var e struct {
		Before, After map[string]any
		Op            string
		Source        struct{ Table string }
	}
	d := json.NewDecoder(bytes.NewReader(r.ValueJson))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	if e.Op == "t" {
		return "t " + e.Source.Table
	}
	side := func(row map[string]any) string {
		if row == nil {
			return "-"
		}
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(row)) {
			v := row[k]
			if v == nil {
				continue
			}
			text := fmt.Sprint(v)
			if _, number := v.(json.Number); number {
				text = strings.TrimSuffix(text, ".0") // a double prints as one; Postgres leaves it out
			}
			if _, is := v.(bool); is {
				text = text[:1] // as Postgres prints it
			}
			if k == "crediting_start" { // days since 1970
				days, err := strconv.Atoi(text)
				if err != nil {
					t.Fatal(err)
				}
				text = time.Unix(int64(days)*86400, 0).UTC().Format(time.DateOnly)
			}
			if k == "updated_at" || k == "published_at" {
				at, err := time.Parse(time.RFC3339Nano, text)
				if err != nil {
					t.Fatal(err)
				}
				text = at.Format("2006-01-02 15:04:05.999999") + "+00"
			}
			fmt.Fprintf(&b, "%s=%q ", k, text)
		}
		return b.String()
	}
	return fmt.Sprintf("%s %s %s -> %s", e.Op, e.Source.Table, side(e.Before), side(e.After))
}

// modelConsumer is a member of a group of its own, and what it must see.
type modelConsumer struct {
	name   string
	topics []string
	step   bool // commits behind each record: sees each exactly once
	next   int  // index in the truth of the next record that it may see
	done   int  // index behind the last one that is committed
	placed bool // has a place; else it begins at the oldest record
	seen   map[uint64]int
}

func (c *modelConsumer) wants(t truth) bool {
	return len(c.topics) == 0 || slices.Contains(c.topics, change.TopicName(t.table))
}

// changelogWorld is a store that crashes, and its model.
type changelogWorld struct {
	t         *testing.T
	rng       *rand.Rand
	dir       string
	store     *store.Store
	stop      func()
	client    pb.ChangelogServiceClient
	src       *storetest.Source
	model     *logModel
	consumers []*modelConsumer
	count     map[string]int
}

func (w *changelogWorld) open() {
	w.t.Helper()
	s, err := store.Open(w.dir, store.Options{First: 1, NoSync: true, SegmentBytes: 8 << 10, CheckpointInterval: time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	_, conn, _, stop := serveStore(w.t, s, rpc.Options{Changelog: s})
	w.store, w.client = s, pb.NewChangelogServiceClient(conn)
	w.stop = func() {
		cancel()
		if err := errors.Join(<-done, stop()); err != nil {
			w.t.Error(err)
		}
		conn.Close()
	}
}

// crash goes on with the files as they are now, without the last words of Close.
func (w *changelogWorld) crash() {
	w.t.Helper()
	w.stop()
	image := w.t.TempDir()
	err := os.CopyFS(image, os.DirFS(w.dir))
	for ; errors.Is(err, os.ErrNotExist); err = os.CopyFS(image, os.DirFS(w.dir)) {
		image = w.t.TempDir() // a compression has just replaced its segment
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Fatal(err)
	}
	w.dir = image
	w.open()
}

// append writes transactions, sometimes in parts, and sometimes with a crash
// before the last part, after which the source sends the transaction again.
func (w *changelogWorld) append() {
	w.t.Helper()
	for range 1 + w.rng.IntN(20) {
		was := len(w.src.Model.Log)
		txn := w.src.Next()
		parts := storetest.Split(txn, 1+w.rng.IntN(4))
		if len(parts) > 1 && w.rng.IntN(30) == 0 {
			w.apply(parts[:len(parts)-1]...)
			w.count["crashes inside a transaction"]++
			w.crash()
		}
		w.apply(parts...)
		w.model.add(w.src.Model.Log[was:])
	}
}

func (w *changelogWorld) apply(txns ...change.Txn) {
	w.t.Helper()
	if err := w.store.Apply(context.Background(), txns); err != nil {
		w.t.Fatal(err)
	}
}

// read lets a consumer read and commit for a while, then leave in some way.
func (w *changelogWorld) read(c *modelConsumer) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	c.next = c.done // everything behind its commit, at least once
	member := fmt.Sprintf("m%d", w.rng.Uint64())
	ss, err := w.client.Consume(ctx, &pb.ConsumeRequest{Topics: c.topics, Group: c.name, MemberId: member})
	if err != nil {
		w.t.Fatal(err)
	}
	limit, generation := w.rng.IntN(400), uint64(0)
	for {
		m, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			w.ended(c)
			return
		}
		if status.Code(err) == codes.OutOfRange {
			w.compacted(c, err)
			return
		}
		if err != nil {
			w.t.Fatalf("%s: %v", c.name, err)
		}
		if m.Generation != 0 {
			generation = m.Generation
			for !c.placed && c.next < len(w.model.recs) && w.model.recs[c.next].offset < m.NextOffset {
				c.next++
			}
		}
		for _, r := range m.Records {
			w.record(c, r)
			if c.step || w.rng.IntN(50) == 0 {
				w.commit(c, generation, r.Offset)
			}
			if limit--; limit < 0 {
				w.count["streams left early"]++
				return
			}
		}
	}
}

// record checks that a record is the next one that the consumer may see.
func (w *changelogWorld) record(c *modelConsumer, r *pb.ChangeRecord) {
	w.t.Helper()
	for c.next < len(w.model.recs) && !c.wants(w.model.recs[c.next]) {
		c.next++
	}
	if c.next == len(w.model.recs) {
		w.t.Fatalf("%s: record %d, but there are no more", c.name, r.Offset)
	}
	want := w.model.recs[c.next]
	c.next++
	if got := lineOfRecord(w.t, r); r.Offset != want.offset || r.Topic != change.TopicName(want.table) || got != want.line {
		w.t.Fatalf("%s: got offset %d %s\nwant offset %d %s", c.name, r.Offset, got, want.offset, want.line)
	}
	last := true
	for _, t := range w.model.recs[c.next:] {
		if t.txn != want.txn {
			break
		}
		last = last && !c.wants(t)
	}
	if r.LastInTransaction != last {
		w.t.Fatalf("%s: offset %d: last in transaction is %v", c.name, r.Offset, r.LastInTransaction)
	}
	if c.seen[r.Offset]++; c.step && c.seen[r.Offset] > 1 {
		w.t.Fatalf("%s: offset %d came twice, though its commit had returned", c.name, r.Offset)
	}
	w.count["records read"]++
}

// commit commits in every topic that the consumer reads.
func (w *changelogWorld) commit(c *modelConsumer, generation, at uint64) {
	w.t.Helper()
	topics := c.topics
	if len(topics) == 0 {
		for _, t := range change.Tables() {
			topics = append(topics, change.TopicName(t))
		}
	}
	for _, t := range topics {
		_, err := w.client.CommitOffset(w.t.Context(), &pb.CommitOffsetRequest{Group: c.name, Topic: t, Offset: at, Generation: generation})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	c.done, c.placed = c.next, true
	if w.rng.IntN(200) == 0 {
		_, err := w.client.CommitOffset(w.t.Context(), &pb.CommitOffsetRequest{Group: c.name, Topic: topics[0], Offset: at, Generation: generation - 1})
		if status.Code(err) != codes.FailedPrecondition {
			w.t.Fatalf("commit of an older generation: %v", err)
		}
	}
}

// ended checks that a stream that ended by itself had brought everything.
func (w *changelogWorld) ended(c *modelConsumer) {
	w.t.Helper()
	for _, t := range w.model.recs[c.next:] {
		if c.wants(t) {
			w.t.Fatalf("%s: the stream ended before offset %d", c.name, t.offset)
		}
	}
}

// compacted checks that retention has really passed the consumer, which then
// begins at the oldest record that is left.
func (w *changelogWorld) compacted(c *modelConsumer, err error) {
	w.t.Helper()
	if c.name == "held" {
		w.t.Fatalf("held: %v", err)
	}
	oldest := uint64(w.store.Oldest())
	lost := false
	for _, t := range w.model.recs[c.next:] {
		if t.offset >= oldest {
			break
		}
		lost = lost || c.wants(t)
	}
	if !lost && len(c.topics) == 1 {
		w.t.Fatalf("%s: %v, but nothing of it is before offset %d", c.name, err, oldest)
	}
	if _, err := w.client.ResetGroup(w.t.Context(), &pb.ResetGroupRequest{Group: c.name, To: &pb.ResetGroupRequest_Earliest{Earliest: true}}); err != nil {
		// The stream that has just failed may not have left its group yet.
		if status.Code(err) != codes.FailedPrecondition {
			w.t.Fatal(err)
		}
		return
	}
	c.placed = true
	oldest = uint64(w.store.Oldest()) // retention may have gone on meanwhile
	for c.done < len(w.model.recs) && w.model.recs[c.done].offset < oldest {
		c.done++
	}
	w.count["readers that retention passed"]++
}

// TestChangelogModel runs random appends, rotations, retention, consumers with
// commits, crashes and restarts against a model in memory: every consumer sees
// each change at least once behind its committed offset, in order, and exactly
// once when it commits in step.
func TestChangelogModel(t *testing.T) {
	seed := *changelogSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (repeat with -changelog-seed)", seed)
	w := &changelogWorld{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: filepath.Join(t.TempDir(), "data"), src: storetest.NewSource(seed),
		model: &logModel{rows: map[string]uint64{}, next: 1}, count: map[string]int{},
	}
	all := change.Tables()
	for i, name := range []string{"held", "step", "lazy", "news", "pair"} {
		c := &modelConsumer{name: name, step: i < 2, seen: map[uint64]int{}}
		switch name {
		case "news":
			c.topics = []string{change.TopicName(change.News)}
		case "pair":
			c.topics = []string{change.TopicName(all[w.rng.IntN(2)]), change.TopicName(all[2+w.rng.IntN(2)])}
		}
		w.consumers = append(w.consumers, c)
	}
	w.open()
	rounds := 150
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		switch n := w.rng.IntN(100); {
		case n < 45:
			w.append()
		case n < 90:
			w.read(w.consumers[w.rng.IntN(len(w.consumers))])
		case n < 94:
			w.count["crashes"]++
			w.crash()
		case n < 97:
			w.store.SetRetention(store.Retention{Bytes: 256 << 10, Hold: []string{"held"}})
		default:
			w.store.SetRetention(store.Retention{})
		}
	}
	for _, c := range w.consumers {
		for c.done < len(w.model.recs) && w.rest(c) {
			w.read(c)
		}
	}
	w.stop()
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.Check(w.dir)
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(err, r)
	}
	t.Logf("%d records, oldest kept %d, %v", len(w.model.recs), r.Oldest, w.count)
}

// rest reports whether a consumer has something left that it has not seen.
func (w *changelogWorld) rest(c *modelConsumer) bool {
	for _, t := range w.model.recs[c.next:] {
		if c.wants(t) {
			return true
		}
	}
	return false
}
