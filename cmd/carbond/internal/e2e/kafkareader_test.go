package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// kafkaReader follows all topics with a client of Kafka's, over every end of the
// daemon.
type kafkaReader struct {
	mu   sync.Mutex          // guards what follows
	got  map[string][]string // by topic: places and bytes of its messages
	lost string              // why the client has ended
}

// followKafka starts a reader of what the next daemon serves.
func (w *world) followKafka() *kafkaReader {
	w.t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import confluent_kafka").Run() != nil {
		missing(w.t, "python3-confluent-kafka is not installed")
	}
	addr := freeAddr(w.t)
	w.env = append(w.env, "CARBOND_KAFKA_LISTEN="+addr, "CARBOND_KAFKA_FORMAT=debezium")
	args := []string{"testdata/follow.py", addr}
	for _, name := range change.Tables() {
		args = append(args, change.TopicName(name))
	}
	cmd := exec.CommandContext(w.t.Context(), "/usr/bin/python3", args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	k := &kafkaReader{got: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		why := k.read(out)
		err := cmd.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		k.lost = fmt.Sprintf("%v %v %s", why, err, errs.String())
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return k
}

// read takes the messages as they come.
func (k *kafkaReader) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var m []any
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil || len(m) != 7 {
			return fmt.Errorf("%.200s: %w", lines.Text(), err)
		}
		topic, _ := m[0].(string)
		for i := range m[5:] {
			if m[5+i] == nil {
				m[5+i] = "null"
			}
		}
		k.mu.Lock()
		k.got[topic] = append(k.got[topic], fmt.Sprintf("%v %v %v %v ", m[1:5]...)+fmt.Sprintf(`{"key":%v,"value":%v}`, m[5:]...))
		k.mu.Unlock()
	}
	return lines.Err()
}

// places is where the messages of the topics stand in a log: their offsets, and the
// transactions that they are of. The log itself was compared with the second slot.
func places(t testing.TB, s *store.Store) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	recs, err := storetest.ReadAll(s.NewReader(s.Oldest()))
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		topic, n := change.TopicName(rec.Relation.Name), 1
		switch rec.Op {
		case change.Retract:
			n = 0
		case change.Delete: // and its tombstone
			n = 2
		}
		for range n {
			out[topic] = append(out[topic], fmt.Sprintf("%d %d %s %d ", len(out[topic]), rec.Offset, rec.LSN, rec.XID))
		}
	}
	return out
}

// check waits until the reader has as many messages as there are, and wants each of
// them at its place once, with the bytes that `carbond consume` prints.
func (k *kafkaReader) check(w *world, want map[string][]string) {
	w.t.Helper()
	for topic, at := range want {
		lines := strings.SplitAfter(program.Must(w.t, w.env, "consume", topic, "--addr", w.current().GRPC, "--from", "earliest", "--format", "debezium", "--keys", "--tombstones"), "\n")
		if len(lines) != len(at)+1 { // behind the last there is nothing
			w.t.Fatalf("%s: consume prints %d messages, the log has %d", topic, len(lines)-1, len(at))
		}
		programtest.Until(w.t, time.Minute, "Kafka's client reads to the end of "+topic, func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.lost != "" {
				w.t.Fatalf("Kafka's client has ended: %s", k.lost)
			}
			return len(k.got[topic]) >= len(at)
		})
		k.mu.Lock()
		got := k.got[topic]
		k.mu.Unlock()
		for i, g := range got {
			if i >= len(at) {
				w.t.Fatalf("%s: Kafka's client reads %d messages, there are %d", topic, len(got), len(at))
			}
			if g != at[i]+strings.TrimSuffix(lines[i], "\n") {
				w.t.Fatalf("%s: message %d of Kafka's client is\n%.600s\nwant\n%.600s", topic, i, g, at[i]+lines[i])
			}
		}
	}
}
