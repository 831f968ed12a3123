package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
			code, out := program.Command(t, env, "consume", topic, "--addr", d.grpc, "--from", "earliest", "--format", "row")
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
	if out := program.Must(t, env, "resnapshot", "shop.orders", "verra", "--addr", d.grpc); !strings.Contains(out, "shop.orders: copied again\nverra: copied again\n") {
		t.Errorf("resnapshot says %q", out)
	}
	if lines := records("carbon.shop.orders", 100); len(lines) != 100 || !strings.Contains(lines[99], `"op":"r"`) {
		t.Errorf("%d records after another copy, the last %s", len(lines), lines[len(lines)-1])
	}
	if topics := program.Must(t, env, "topics", "--addr", d.grpc, "--format", "csv"); !strings.Contains(topics, "carbon.shop.orders") {
		t.Errorf("the topics are %s", topics)
	}
	if out := program.Must(t, env, "doctor"); !strings.Contains(out, "carbon.public.fifth") {
		t.Errorf("the doctor says %s", out)
	}
}
