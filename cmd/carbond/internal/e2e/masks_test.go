package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

// TestMasks hides columns of tables that come with the first copy and later, over updates,
// deletions, new keys, another copy and a column that is renamed. No clear value is in any file
// of the data directory, nor in the log.
func TestMasks(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	dir, secret := filepath.Join(t.TempDir(), "data"), "a-secret-of-many-bytes"
	env := []string{
		"CARBOND_DATA_DIR=" + dir, "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_masks", "CARBOND_LOG_LEVEL=debug",
		"CARBOND_POSTGRES_TABLES=public.people,shop.*", "CARBOND_POSTGRES_MASK_SECRET=" + secret,
		"CARBOND_POSTGRES_MASKS=public.people.mail=hash,public.people.card=last4,public.people.note=null,public.people.gone=exclude,shop.later.mail=hash",
	}
	pgtest.Exec(t, url, "CREATE SCHEMA shop",
		"CREATE TABLE public.people (id int PRIMARY KEY, mail text, card text, note text, gone text, free text)",
		"ALTER TABLE public.people REPLICA IDENTITY FULL",
		"INSERT INTO public.people SELECT i, 'CLEAR' || i, 'CLEARCARD' || 1000 + i, 'CLEAR', 'CLEAR', 'OPEN' FROM generate_series(1, 20) i")
	program.Must(t, env, "migrate")
	d := serve(t, env)
	lines := func(topic string, last string) (out []string) {
		t.Helper()
		programtest.Until(t, 2*time.Minute, "topic "+topic+" ends with "+last, func() bool {
			code, text := program.Command(t, env, "consume", topic, "--addr", d.GRPC, "--from", "earliest", "--format", "row")
			out = strings.Split(strings.TrimSpace(text), "\n")
			return code == 0 && strings.HasPrefix(out[len(out)-1], last)
		})
		return out
	}
	hash := func(s string) string {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
	lines("carbon.public.people", `{"id":20,`) // the first copy has all before they change
	pgtest.Exec(t, url, "UPDATE public.people SET mail = 'CLEARNEW' WHERE id = 1", "DELETE FROM public.people WHERE id = 2",
		"UPDATE public.people SET id = 100 WHERE id = 3")
	out := lines("carbon.public.people", `{"id":100,`)
	if want := `{"id":1,"mail":"` + hash("CLEAR1") + `","card":"****1001","note":null,"free":"OPEN","op":"r"`; !strings.HasPrefix(out[0], want) {
		t.Errorf("the first row is %s, want %s", out[0], want)
	}
	if want := `{"id":1,"mail":"` + hash("CLEARNEW") + `","card":"****1001","note":null,"free":"OPEN","op":"u"`; !strings.HasPrefix(out[20], want) {
		t.Errorf("the update is %s, want %s", out[20], want)
	}
	pgtest.Exec(t, url, "CREATE TABLE shop.later (id int PRIMARY KEY, mail text, free text)",
		"INSERT INTO shop.later SELECT i, 'CLEAR' || i, 'OPEN' FROM generate_series(1, 50) i")
	lines("carbon.shop.later", `{"id":50,"mail":"`+hash("CLEAR50")+`","free":"OPEN"`)
	program.Must(t, env, "resnapshot", "public.people", "shop.later", "--addr", d.GRPC)
	// The column may be another one now: nothing but the key is shown until somebody has looked.
	pgtest.Exec(t, url, "ALTER TABLE shop.later RENAME mail TO email", "INSERT INTO shop.later VALUES (51, 'CLEAR51', 'CLEAR')")
	lines("carbon.shop.later", `{"id":51,"email":null,"free":null,"op":"c"`)
	if out := program.Must(t, env, "doctor"); !strings.Contains(out, "postgres.masks hides column mail, which table shop.later lacks") {
		t.Errorf("the doctor does not say that a mask has no column:\n%s", out)
	}
	unmasked(t, dir, d.Log.String(), secret)
	d.stop(t)
	// With the mask under the new name the table is copied again.
	env = append(env, "CARBOND_POSTGRES_MASKS=public.people.mail=hash,public.people.card=last4,public.people.note=null,public.people.gone=exclude,shop.later.email=hash,shop.later.free=exclude")
	d = serve(t, env)
	lines("carbon.shop.later", `{"id":51,"email":"`+hash("CLEAR51")+`","op":"r"`)
	unmasked(t, dir, d.Log.String(), secret)
	program.Must(t, append(env, "CARBOND_GRPC_LISTEN=127.0.0.1:0"), "check-config")
}

// unmasked fails for a clear value in a file or in the log.
func unmasked(t *testing.T, dir, log, secret string) {
	t.Helper()
	open := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // a temporary one
		}
		open = open || bytes.Contains(b, []byte("OPEN"))
		for _, s := range []string{"CLEAR", secret} {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds %q", path, s)
			}
		}
		return err
	})
	if err != nil || !open {
		t.Errorf("no file holds what is not hidden, so the search proves nothing: %v", err)
	}
	for _, s := range []string{"CLEAR", secret} {
		if strings.Contains(log, s) {
			t.Errorf("the log holds %q", s)
		}
	}
}
