package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/config"
)

// write puts text into a file of a temporary directory and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultsAreTheContract(t *testing.T) {
	c, warnings, err := config.Load(config.Options{Path: write(t, "c.yaml", "")})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	got := map[string]any{
		"data":  c.DataDir,
		"slot":  c.Postgres.Slot,
		"pub":   c.Postgres.Publication,
		"mig":   c.Postgres.Migrate,
		"grpc":  c.GRPC.Listen,
		"http":  c.HTTP.Listen,
		"every": c.Feeds.Interval,
		"ttl":   c.Cache.TTL,
		"cache": c.Cache.MaxBytes,
		"feeds": strings.Join(c.Feeds.Enabled, ","),
		"embed": c.Embedded(),
	}
	want := map[string]any{
		"data": "./carbond-data", "slot": "carbond", "pub": "carbond", "mig": "auto",
		"grpc": "127.0.0.1:50051", "http": "127.0.0.1:50080", "every": time.Minute,
		"ttl": 5 * time.Minute, "cache": int64(64 << 20), "feeds": "verra,carbonmark,finance,news", "embed": true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
}

func TestDataDirectoryOfAService(t *testing.T) {
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"unit":            {[]string{"INVOCATION_ID=abc"}, "/var/lib/carbond"},
		"state directory": {[]string{"INVOCATION_ID=abc", "STATE_DIRECTORY=/var/lib/x:/var/lib/y"}, "/var/lib/x"},
		"told":            {[]string{"INVOCATION_ID=abc", "CARBOND_DATA_DIR=/srv/c"}, "/srv/c"},
		"shell":           {nil, "./carbond-data"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", ""), Env: tc.env})
			if err != nil || c.DataDir != tc.want {
				t.Fatalf("got %v %v, want %s", c, err, tc.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml string
		env  []string
		want []string // one piece of each problem, in order
	}{
		"unknown key with its line": {"grpc:\n  listne: 127.0.0.1:1\n", nil, []string{`:2: unknown key "grpc.listne" (did you mean grpc.listen?)`}},
		"unknown section":           {"postgress:\n  url: x\n", nil, []string{`:1: unknown key "postgress" (did you mean postgres?)`}},
		"all together": {
			"cache:\n  ttl: soon\n  max_bytes: 64MegaBytes\nfeeds:\n  enabled: [verra, vera]\nlog:\n  format: xml\n",
			[]string{"CARBOND_GRPC_LISTEN=50051"},
			[]string{":2: cache.ttl", ":3: cache.max_bytes", ":5: feeds.enabled: \"vera\"", ":7: log.format", "environment CARBOND_GRPC_LISTEN: grpc.listen"},
		},
		"twice":             {"log:\n  level: info\n  level: warn\n", nil, []string{":3: log.level is given twice"}},
		"not yaml":          {"log:\n\tlevel: info\n", nil, []string{":2: not YAML"}},
		"two documents":     {"log:\n  level: info\n---\nlog:\n  level: warn\n", nil, []string{"second YAML document"}},
		"list of keys":      {"- a\n- b\n", nil, []string{":1: the file: want keys with values, found a list"}},
		"section as word":   {"grpc: 127.0.0.1:1\n", nil, []string{":1: grpc: want keys with values"}},
		"mapping as value":  {"log:\n  level:\n    a: b\n", nil, []string{":3: log.level: want a one of"}},
		"secret and file":   {"postgres:\n  password: abc\n  password_file: /x\n", nil, []string{":3: postgres.password and postgres.password_file are both given", "/x does not exist"}},
		"env secret twice":  {"", []string{"CARBOND_POSTGRES_URL=postgres://h/d", "CARBOND_POSTGRES_URL_FILE=/x"}, []string{"both set"}},
		"lone certificate":  {"grpc:\n  tls_cert: /a\n", nil, []string{":2: grpc.tls_cert needs grpc.tls_key"}},
		"lone key":          {"http:\n  tls_key: /a\n", nil, []string{":2: http.tls_key needs http.tls_cert"}},
		"same port":         {"http:\n  listen: 127.0.0.1:50051\n", nil, []string{":2: http.listen and grpc.listen"}},
		"slot name":         {"postgres:\n  slot: Carbon-D\n", nil, []string{":2: postgres.slot"}},
		"port too big":      {"", []string{"CARBOND_HTTP_LISTEN=:70000"}, []string{"no port number"}},
		"ftp feed":          {"feeds:\n  verra_url: ftp://x\n", nil, []string{":2: feeds.verra_url"}},
		"news without name": {"feeds:\n  news_urls: [https://x/feed]\n", nil, []string{":2: feeds.news_urls"}},
		"status word":       {"feeds:\n  verra_statuses: {DRAFT: ACTIV}\n", nil, []string{`:2: feeds.verra_statuses: "ACTIV" is none of ACTIVE`}},
		"two stars":         {"feeds:\n  verra_statuses: [A*B*=ACTIVE]\n", nil, []string{"more than one *"}},
		"code twice":        {"feeds:\n  verra_statuses: [A=ACTIVE, A=UNKNOWN]\n", nil, []string{`"A" is listed twice`}},
		"header in lines":   {"feeds:\n  verra_headers: {X-A: \"b\\u0001c\"}\n", nil, []string{"characters that a header cannot hold"}},
		"browser disguise":  {"feeds:\n  verra_headers: {User-Agent: Mozilla}\n", nil, []string{"feeds.user_agent_contact"}},
		"framing header":    {"feeds:\n  verra_headers: {Host: a}\n", nil, []string{"cannot be set"}},
		"header name":       {"feeds:\n  verra_headers: {\"X A\": b}\n", nil, []string{`"X A" is not the name of a header`}},
		"news interval":     {"feeds:\n  news_intervals: {BBC: soon}\n", nil, []string{`"soon" is not a duration`}},
		"tiny interval":     {"feeds:\n  news_intervals: {BBC: 1ms}\n", nil, []string{"below the least value 1s"}},
		"standard":          {"feeds:\n  verra_standard: VCS\n", nil, []string{`"VCS" is not a whole number`}},
		"negative lag":      {"limits:\n  lag_seconds: -1\n", nil, []string{":2: limits.lag_seconds"}},
		"segment too big":   {"store:\n  segment_bytes: 3GiB\n", nil, []string{"above the greatest value 1GiB"}},
		"size overflow":     {"cache:\n  max_bytes: 99999999999TiB\n", nil, []string{"not a byte size"}},
		"wrong url":         {"postgres:\n  url: postgres://u:se%zzcret@h/db\n", nil, []string{":2: postgres.url: not a libpq URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "c.yaml", tc.yaml)
			_, _, err := config.Load(config.Options{Path: path, Env: tc.env})
			var problems config.Problems
			if !errors.As(err, &problems) || !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			if len(problems) != len(tc.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(problems), len(tc.want), err)
			}
			for i, w := range tc.want {
				if got := problems[i].String(); !strings.Contains(got, w) {
					t.Errorf("problem %d is %q, want %q in it", i, got, w)
				}
			}
			if strings.Contains(err.Error(), "cret@") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}

func loadURL(t *testing.T, line string, env ...string) *config.Config {
	t.Helper()
	c, _, err := config.Load(config.Options{Path: write(t, "u.yaml", "postgres:\n  "+line+"\n"), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLayers(t *testing.T) {
	creds := t.TempDir()
	if err := os.WriteFile(filepath.Join(creds, "postgres.password"), []byte("from-credential\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(yaml string, env ...string) *config.Config {
		t.Helper()
		c, _, err := config.Load(config.Options{
			Path: write(t, "c.yaml", "postgres:\n  url: postgres://h/d\n"+yaml),
			Env:  append(env, "CREDENTIALS_DIRECTORY="+creds),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	file := write(t, "pw", "from-file\r\n")
	for name, tc := range map[string]struct{ got, want string }{
		"credential":          {load("").Postgres.Password.Reveal(), "from-credential"},
		"file beats it":       {load("  password: plain\n").Postgres.Password.Reveal(), "plain"},
		"secret file":         {load("  password_file: " + file + "\n").Postgres.Password.Reveal(), "from-file"},
		"environment":         {load("  password: plain\n", "CARBOND_POSTGRES_PASSWORD=env").Postgres.Password.Reveal(), "env"},
		"environment file":    {load("  password: plain\n", "CARBOND_POSTGRES_PASSWORD_FILE="+file).Postgres.Password.Reveal(), "from-file"},
		"empty is not set":    {load("  password: plain\n", "CARBOND_POSTGRES_PASSWORD=").Postgres.Password.Reveal(), "plain"},
		"null is the default": {load("  slot:\n").Postgres.Slot, "carbond"},
		"a file that is gone": {load("  password_file: /nowhere\n", "CARBOND_POSTGRES_PASSWORD=env").Postgres.Password.Reveal(), "env"},
		"no URL, embedded":    {load("", "CARBOND_POSTGRES_URL=").Postgres.URL.Reveal(), ""},
		"no URL, no file":     {loadURL(t, "url_file: /nowhere", "CARBOND_POSTGRES_URL=").Postgres.URL.Reveal(), ""},
		"in capitals":         {load("", "CARBOND_LOG_LEVEL=DEBUG").Log.Level, "debug"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", name, tc.got, tc.want)
		}
	}
}

func TestListsInEveryForm(t *testing.T) {
	want := []config.NamedURL{{"A", "https://a/x,y"}, {"B c", "http://b/"}}
	for name, text := range map[string]string{
		"list":    "feeds:\n  news_urls:\n    - A=https://a/x,y\n    - B c=http://b/\n",
		"mapping": "feeds:\n  news_urls:\n    A: https://a/x,y\n    B c: http://b/\n",
	} {
		c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", text)})
		if err != nil || !reflect.DeepEqual(c.Feeds.NewsURLs, want) {
			t.Errorf("%s: got %v %v", name, c, err)
		}
	}
	for in, want := range map[string]int{"none": 0, "news": 1, "verra, finance": 2} {
		c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", ""), Env: []string{"CARBOND_FEEDS_ENABLED=" + in}})
		if err != nil || len(c.Feeds.Enabled) != want {
			t.Errorf("%s: got %v %v", in, c, err)
		}
	}
}

func TestPairs(t *testing.T) {
	c, _, err := config.Load(config.Options{
		Path: write(t, "c.yaml", "feeds:\n  verra_headers:\n    Origin: https://a\n    X-List: b, c=d\n  verra_statuses: [SUSPENDED=ON_HOLD, \"*_LOST=REJECTED\"]\n  verra_standard: 150000000000001\n"),
		Env:  []string{"CARBOND_FEEDS_NEWS_INTERVALS=BBC=30m, Carbon Pulse=2h"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := c.Feeds
	if want := []config.Pair{{"Origin", "https://a"}, {"X-List", "b, c=d"}}; !reflect.DeepEqual(f.VerraHeaders, want) {
		t.Errorf("headers %v", f.VerraHeaders)
	}
	if want := []config.Pair{{"SUSPENDED", "ON_HOLD"}, {"*_LOST", "REJECTED"}}; !reflect.DeepEqual(f.VerraStatuses, want) {
		t.Errorf("statuses %v", f.VerraStatuses)
	}
	if len(f.NewsIntervals) != 2 || f.NewsIntervals[1].Name != "Carbon Pulse" || f.NewsIntervals[1].Duration() != 2*time.Hour {
		t.Errorf("intervals %v", f.NewsIntervals)
	}
	if f.VerraStandard != "150000000000001" {
		t.Errorf("standard %q", f.VerraStandard)
	}
}

func TestWarnings(t *testing.T) {
	for name, tc := range map[string]struct {
		env  []string
		want string // "" for no warning
	}{
		"typing error":     {[]string{"CARBOND_POSTGRES_SLOTT=x"}, "did you mean CARBOND_POSTGRES_SLOT?"},
		"kubernetes":       {[]string{"CARBOND_PORT=tcp://10.0.0.1:50051", "CARBOND_SERVICE_HOST=10.0.0.1", "CARBOND_PORT_50051_TCP_ADDR=10.0.0.1"}, ""},
		"tests":            {[]string{"CARBOND_TEST_DSN=x"}, ""},
		"public listener":  {[]string{"CARBOND_GRPC_LISTEN=0.0.0.0:50051"}, "without TLS or tokens"},
		"tokens in clear":  {[]string{"CARBOND_GRPC_LISTEN=:50051", "CARBOND_GRPC_TOKENS_FILE=/x"}, "plain text"},
		"public profiles":  {[]string{"CARBOND_HTTP_LISTEN=:50080", "CARBOND_HTTP_PPROF=true"}, "profiles"},
		"lone password":    {[]string{"CARBOND_POSTGRES_PASSWORD=x"}, "no effect"},
		"loopback is fine": {[]string{"CARBOND_GRPC_LISTEN=[::1]:50051"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings, err := config.Load(config.Options{Path: write(t, "c.yaml", ""), Env: tc.env})
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" && len(warnings) == 0 {
				return
			}
			if len(warnings) != 1 || tc.want == "" || !strings.Contains(warnings[0].String(), tc.want) {
				t.Fatalf("got %v, want %q", warnings, tc.want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, _, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "none.yaml does not exist") {
		t.Fatal(err)
	}
	_, _, err = config.Load(config.Options{Path: t.TempDir()})
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "is a directory") {
		t.Fatal(err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	const word = "hunter2hunter2"
	s := config.NewSecret(word)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "config", struct{ S config.Secret }{s})
	j, err := json.Marshal(struct{ S config.Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q %x %d", s, s, s, s, s, s),
		fmt.Sprintf("%+v", struct{ S config.Secret }{s}), log.String(), string(j),
	} {
		if strings.Contains(text, word) || strings.Contains(text, fmt.Sprintf("%x", word)) {
			t.Errorf("the secret is in %q", text)
		}
	}
}

func TestRedactor(t *testing.T) {
	c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", ""), Env: []string{
		"CARBOND_POSTGRES_URL=postgres://carbond:s3cret%2Fpass@db/carbon", "CARBOND_POSTGRES_PASSWORD=other secret word",
		"CARBOND_FEEDS_GRAPH_KEY=abcdef0123456789",
	}})
	if err != nil {
		t.Fatal(err)
	}
	redact := c.Redactor()
	for _, text := range []string{
		"cannot parse `postgres://carbond:s3cret%2Fpass@db/carbon`: x",
		"host=db password=s3cret/pass user=carbond", "sslpassword='a s3cret/pass b'",
		"dial with other secret word", "https://gw/api/abcdef0123456789/subgraphs", "postgres://x:other+secret+word@h/d",
		"s3cret/pass",
	} {
		got := redact(text)
		for _, bad := range []string{"s3cret", "other", "abcdef0123456789"} {
			if strings.Contains(got, bad) {
				t.Errorf("%q keeps %q", got, bad)
			}
		}
	}
	if got := redact("carbond started on db"); got != "carbond started on db" {
		t.Errorf("an ordinary text became %q", got)
	}
	if got := c.Effective(); strings.Contains(got, "s3cret") || !strings.Contains(got, "postgres.url: postgres://carbond:xxxxx@db/carbon") {
		t.Error(got)
	}
}

func TestSampleIsValidAndComplete(t *testing.T) {
	sample := config.Sample()
	if _, _, err := config.Load(config.Options{Path: write(t, "c.yaml", sample)}); err != nil {
		t.Fatal(err)
	}
	// With every key switched on it must still parse, so the commented lines
	// are what they claim to be.
	var on strings.Builder
	for line := range strings.SplitSeq(sample, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") && !strings.HasPrefix(trimmed, "# ") {
			line = strings.Replace(line, "#", "", 1)
		}
		on.WriteString(line + "\n")
	}
	c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", on.String())})
	if err != nil {
		t.Fatalf("%v\n%s", err, on.String())
	}
	reload, restart := config.Changed(config.Default(), c)
	if len(reload)+len(restart) > 0 {
		t.Errorf("the sample changes %v %v", reload, restart)
	}
	for _, k := range config.Default().Keys() {
		if k.Doc == "" {
			t.Errorf("%s has no documentation", k.Name)
		}
	}
}

func TestChanged(t *testing.T) {
	a, _, err := config.Load(config.Options{Path: write(t, "c.yaml", "")})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := config.Load(config.Options{Path: write(t, "c.yaml", "log:\n  level: debug\ngrpc:\n  listen: 127.0.0.1:1\npostgres:\n  url: postgres://h/d\n")})
	if err != nil {
		t.Fatal(err)
	}
	reload, restart := config.Changed(a, b)
	if !reflect.DeepEqual(reload, []string{"log.level"}) || !reflect.DeepEqual(restart, []string{"postgres.url", "grpc.listen"}) {
		t.Fatal(reload, restart)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("grpc:\n  listen: 127.0.0.1:1\n")
	f.Add("a: &a [1]\nb: *a\n")
	f.Add("? {a: b}\n: c\n")
	f.Add(config.Sample())
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := config.Load(config.Options{Path: write(t, "c.yaml", text)})
		if (c == nil) != (err != nil) {
			t.Fatal(c, err)
		}
	})
}

// TestFreshSecret changes the file of a secret after the configuration was read.
func TestFreshSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	cfg, _, err := config.Load(config.Options{Path: os.DevNull, Env: []string{"CARBOND_POSTGRES_URL=postgres://h/d", "CARBOND_POSTGRES_PASSWORD_FILE=" + file}})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(want string) {
		t.Helper()
		if got := cfg.Postgres.Password.Fresh(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	fresh("one")
	write("two\r\n")
	fresh("two")
	if got := cfg.Postgres.Password.Reveal(); got != "one" {
		t.Errorf("what was loaded is now %q", got)
	}
	write("")
	fresh("one") // somebody is writing it
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	fresh("one")
	if got := cfg.Postgres.URL.Fresh(); got != "postgres://h/d" {
		t.Errorf("without a file: %q", got)
	}
}
