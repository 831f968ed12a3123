package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// TestKafkaClients lets clients of Kafka that know nothing of carbond read a topic:
// all get the same, which is what `carbond consume` prints.
func TestKafkaClients(t *testing.T) {
	for _, tool := range [][]string{{"kcat", "-V"}, {"/usr/bin/python3", "-c", "import confluent_kafka, kafka"}} {
		if exec.Command(tool[0], tool[1:]...).Run() != nil {
			missing(t, "kcat, python3-confluent-kafka and python3-kafka are not installed")
		}
	}
	url := pgtest.Shared(t).Database(t)
	kafka := freeAddr(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_kafka",
		"CARBOND_KAFKA_LISTEN=" + kafka, "CARBOND_KAFKA_FORMAT=row",
	}
	program.Must(t, env, "migrate")
	pgtest.Exec(t, url, `INSERT INTO verra(project_id, project_name, supply) SELECT 'VCS-' || i, 'n' || i, i FROM generate_series(1, 40) i`)
	d := serve(t, env)
	level := func() {
		t.Helper()
		lsn, err := change.ParseLSN(pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn()")[0][0])
		if err != nil {
			t.Fatal(err)
		}
		conn := d.Dial(t)
		defer conn.Close()
		waitLSN(t.Context(), t, pb.NewCarbonServiceClient(conn), lsn)
	}
	level() // what follows comes by the stream
	pgtest.Exec(t, url, `UPDATE verra SET supply = supply + 1 WHERE supply < 10`, `DELETE FROM verra WHERE supply > 35`,
		`UPDATE verra SET project_id = 'VCS-900' WHERE project_id = 'VCS-1'`, `INSERT INTO verra(project_id) VALUES ('VCS-901')`)
	level()

	topic := change.TopicName(change.Verra)
	var want []string
	for line := range strings.Lines(program.Must(t, env, "consume", topic, "--addr", d.GRPC, "--from", "earliest", "--format", "row")) {
		line = strings.TrimSpace(line)
		id, _, _ := strings.Cut(strings.SplitAfter(line, `"project_id":"`)[1], `"`)
		key := fmt.Sprintf(`{"project_id":"%s"}`, id)
		if want = append(want, key+"\t"+line); strings.Contains(line, `"op":"d"`) {
			want = append(want, key+"\tnull")
		}
	}
	if len(want) < 55 {
		t.Fatalf("only %d messages", len(want))
	}
	for name, args := range map[string][]string{
		"kcat":                   {"kcat", "-b", kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-Z", "-f", "%k\t%s\n"},
		"librdkafka from Python": {"/usr/bin/python3", "testdata/confluent.py", kafka, topic},
		"kafka-python":           {"/usr/bin/python3", "testdata/kafkapython.py", kafka, topic, fmt.Sprint(len(want))},
	} {
		t.Run(name, func(t *testing.T) {
			var errs strings.Builder
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			got := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(out), "\tNULL\n", "\tnull\n")), "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("%d messages, want %d; message %d differs:\n%q\n%q", len(got), len(want), i, at(got, i), at(want, i))
				}
			}
		})
	}
	out, err := exec.Command("kcat", "-b", kafka, "-C", "-t", topic, "-o", "-5", "-e", "-q", "-f", "%o\n").Output()
	if got := strings.Fields(string(out)); err != nil || len(got) != 5 || got[4] != fmt.Sprint(len(want)-1) {
		t.Errorf("the last five: %v (%v)", got, err)
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}
