package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
)

// TestTables reads tables without a view as carbond's own command and kcat do: one
// that is there from the start, and one that comes later, in a schema that is
// named as a whole; then copies a table again.
func TestTables(t *testing.T) {
	if exec.Command("kcat", "-V").Run() != nil {
		missing(t, "kcat is not installed")
	}
	url := pgtest.Shared(t).Database(t)
	kafka := freeAddr(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_tables",
		"CARBOND_KAFKA_LISTEN=" + kafka, "CARBOND_KAFKA_FORMAT=row", "CARBOND_POSTGRES_TABLES=public.fifth,shop.*",
	}
	pgtest.Exec(t, url, "CREATE TABLE public.fifth (id int PRIMARY KEY, name text, day date)", "CREATE SCHEMA shop",
		"INSERT INTO public.fifth SELECT i, 'n' || i, '2024-02-29' FROM generate_series(1, 30) i")
	program.Must(t, env, "migrate")
	d := serve(t, env)
	records := func(topic string, want int) (lines []string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			code, out := program.Command(t, env, "consume", topic, "--addr", d.GRPC, "--from", "earliest", "--format", "row")
			if lines = strings.Split(strings.TrimSpace(out), "\n"); code == 0 && len(lines) >= want {
				return lines
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has %d records, want %d: exit %d, %s", topic, len(lines), want, code, out)
			}
			<-time.After(200 * time.Millisecond)
		}
	}
	records("carbon.public.fifth", 30)
	pgtest.Exec(t, url, "UPDATE public.fifth SET name = NULL WHERE id = 1", "DELETE FROM public.fifth WHERE id = 2",
		"CREATE TABLE shop.orders (id int PRIMARY KEY, note text)", "INSERT INTO shop.orders SELECT i, 'x' FROM generate_series(1, 50) i")
	lines := records("carbon.public.fifth", 32)
	if want := `{"id":1,"name":null,"day":19782,"op":"u","topic":"carbon.public.fifth",`; !strings.HasPrefix(lines[30], want) {
		t.Errorf("the update is %s, want %s", lines[30], want)
	}
	if got := len(records("carbon.shop.orders", 50)); got != 50 {
		t.Errorf("the later table has %d records", got)
	}
	// Each deletion is two messages, and no number is left out.
	out, err := exec.Command("kcat", "-b", kafka, "-C", "-t", "carbon.public.fifth", "-o", "beginning", "-e", "-q", "-Z", "-f", "%o %k\n").Output()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(got) != 33 {
		t.Fatalf("kcat reads %d messages, want 33: %v", len(got), err)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, fmt.Sprint(i)+" {\"id\":") {
			t.Errorf("message %d is %s", i, line)
		}
	}
	if out := program.Must(t, env, "resnapshot", "shop.orders", "verra", "--addr", d.GRPC); !strings.Contains(out, "shop.orders: copied again\nverra: copied again\n") {
		t.Errorf("resnapshot says %q", out)
	}
	if lines := records("carbon.shop.orders", 100); len(lines) != 100 || !strings.Contains(lines[99], `"op":"r"`) {
		t.Errorf("%d records after another copy, the last %s", len(lines), lines[len(lines)-1])
	}
	if topics := program.Must(t, env, "topics", "--addr", d.GRPC, "--format", "csv"); !strings.Contains(topics, "carbon.shop.orders") {
		t.Errorf("the topics are %s", topics)
	}
	if out := program.Must(t, env, "doctor"); !strings.Contains(out, "carbon.public.fifth") {
		t.Errorf("the doctor says %s", out)
	}
}

// kept is how many records the topic of shop.big has.
func kept(t *testing.T, d *daemon) (n uint64) {
	t.Helper()
	conn := d.Dial(t)
	defer conn.Close()
	r, err := pb.NewChangelogServiceClient(conn).ListTopics(t.Context(), &pb.ListTopicsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range r.GetTopics() {
		if topic.GetName() == "carbon.shop.big" {
			n = topic.GetRecords()
		}
	}
	return n
}

// TestKillInsideCopy kills the daemon while it copies a table beside the stream, again and again,
// while somebody writes to the table. In the end the topic leads to what SQL says, and
// no row was copied twice: a copy goes on behind the last piece that is durable.
func TestKillInsideCopy(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	random := rand.New(rand.NewPCG(seed, 1))
	url := pgtest.Shared(t).Database(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_kill_copy",
		"CARBOND_POSTGRES_TABLES=shop.*",
	}
	pgtest.Exec(t, url, "CREATE SCHEMA shop")
	program.Must(t, env, "migrate")
	d := serve(t, env)
	programtest.Until(t, 2*time.Minute, "the first copy is made", func() bool { return strings.Contains(d.Log.String(), `"msg":"serving"`) })
	pgtest.Exec(t, url, "BEGIN; CREATE TABLE shop.big (id int PRIMARY KEY, n int, pad text);"+
		" INSERT INTO shop.big SELECT i, 0, repeat('x', 250) FROM generate_series(1, 120000) i; COMMIT") // at once: an empty table is copied in no time
	stop, wrote := make(chan struct{}), make(chan error, 1)
	go func() { wrote <- writeBig(url, seed, stop) }()
	copying := regexp.MustCompile(`copying a table beside the stream.*"table":"shop.big".*"rows":(\d+)`)
	resumed := 0
	for kills := 0; kills < 15 && resumed < 3; kills++ {
		programtest.Until(t, 2*time.Minute, "the copy is under way", func() bool { return copying.MatchString(d.Log.String()) || d.Ended() })
		if m := copying.FindStringSubmatch(d.Log.String()); m != nil && m[1] != "0" {
			resumed++
		}
		// It dies when some more rows are kept, however fast the machine is.
		more := kept(t, d) + 1 + uint64(random.IntN(25_000))
		ended := false
		programtest.Until(t, 2*time.Minute, "more rows are copied", func() bool {
			ended = strings.Contains(d.Log.String(), "copied a table beside the stream")
			return ended || kept(t, d) >= more
		})
		if ended {
			break
		}
		d.Kill()
		d = serve(t, env)
	}
	programtest.Until(t, 5*time.Minute, "the copy ends", func() bool { return strings.Contains(d.Log.String(), "copied a table beside the stream") })
	close(stop)
	if err := <-wrote; err != nil {
		t.Fatalf("write: %v", err)
	}
	if resumed == 0 {
		t.Errorf("seed %d: no copy was met by a kill, so nothing is proven", seed)
	}
	want := map[string]string{}
	for _, r := range pgtest.Text(t, url, "SELECT id, n FROM shop.big") {
		want[r[0]] = r[1]
	}
	programtest.Until(t, 2*time.Minute, "the topic leads to the table", func() bool {
		got, again := fold(t, env, d.GRPC)
		if again != "" {
			t.Fatalf("seed %d: row %s was copied twice", seed, again)
		}
		return maps.Equal(got, want)
	})
	t.Logf("seed %d: %d copies went on after a kill", seed, resumed)
}

// writeBig changes rows of the table until stop.
func writeBig(url string, seed uint64, stop <-chan struct{}) error {
	ctx, random := context.Background(), rand.New(rand.NewPCG(seed, 2))
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for n := 1; ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
		id := random.IntN(130_000)
		sql := "UPDATE shop.big SET n = $2 WHERE id = $1"
		switch random.IntN(4) {
		case 0:
			sql = "INSERT INTO shop.big VALUES ($1, $2, 'new') ON CONFLICT (id) DO UPDATE SET n = $2"
		case 1:
			sql = "DELETE FROM shop.big WHERE id = $1 AND n < $2"
		}
		if _, err := conn.Exec(ctx, sql, id, n); err != nil {
			return err
		}
	}
}

// fold applies the records of the topic by key, and names a row that was copied twice.
func fold(t *testing.T, env []string, addr string) (rows map[string]string, again string) {
	t.Helper()
	out := program.Must(t, env, "consume", "carbon.shop.big", "--addr", addr, "--from", "earliest", "--format", "row")
	rows = map[string]string{}
	copied := map[string]bool{}
	line := regexp.MustCompile(`(?m)^\{"id":(\d+),"n":(\d+|null),.*"op":"([a-z])"`)
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		switch id := m[1]; m[3] {
		case "d":
			delete(rows, id)
		case "r":
			if copied[id] {
				again = id
			}
			copied[id], rows[id] = true, m[2]
		default:
			rows[id] = m[2]
		}
	}
	return rows, again
}
