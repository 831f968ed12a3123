package main

import (
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/certs/certstest"
	"carbond/replicate"
)

func TestJudgeReplication(t *testing.T) {
	level := time.Now()
	for name, tc := range map[string]struct {
		s      replicate.Status
		copied bool
		limit  float64
		ok     bool
		want   string
	}{
		"streaming":          {replicate.Status{Connected: true, Phase: replicate.PhaseStreaming, LastLevel: level}, true, 30, true, ""},
		"copying":            {replicate.Status{Connected: true, Phase: replicate.PhaseCopying}, false, 30, false, "first copy of the tables is not complete (copying"},
		"never level":        {replicate.Status{Connected: true, Phase: replicate.PhaseStreaming}, true, 30, false, "not yet level"},
		"behind":             {replicate.Status{Connected: true, Phase: replicate.PhaseStreaming, LastLevel: level, LagSeconds: 31}, true, 30, false, "31.0 s behind Postgres, more than limits.lag_seconds 30"},
		"behind, no limit":   {replicate.Status{Connected: true, Phase: replicate.PhaseStreaming, LastLevel: level, LagSeconds: 3100}, true, 0, true, ""},
		"short interruption": {replicate.Status{Phase: replicate.PhaseWaiting, LastLevel: level, LagSeconds: 2, Reason: "connection refused"}, true, 30, true, "serving data of 2.0 s ago (waiting: connection refused)"},
		"long interruption":  {replicate.Status{Phase: replicate.PhaseWaiting, LastLevel: level, LagSeconds: 200, Reason: "slot lost"}, true, 30, false, "slot lost"},
		"gap":                {replicate.Status{Phase: replicate.PhaseWaiting, LastLevel: level, LagSeconds: 1, Kind: replicate.KindSlotLost, Reason: "slot lost"}, true, 30, false, "slot lost"},
		"gap, new attempt":   {replicate.Status{Phase: replicate.PhaseChecking, LastLevel: level, Kind: replicate.KindServerBehind, Reason: "behind"}, true, 0, false, "behind"},
		"unreachable start":  {replicate.Status{Phase: replicate.PhaseWaiting, Reason: "connection refused"}, true, 30, false, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			v := judgeReplication(tc.s, tc.copied, tc.limit)
			if v.ok != tc.ok || !strings.Contains(v.reason, tc.want) || (tc.want == "" && v.reason != "") {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestJudgeDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		free uint64
		ok   bool
		want string
	}{
		"enough": {1 << 30, true, ""},
		"low":    {5 << 20, true, "only 5 MiB free for /data"},
		"full":   {4096, false, "no space left for /data"},
	} {
		t.Run(name, func(t *testing.T) {
			if c := judgeDisk("/data", tc.free); c.OK != tc.ok || !strings.HasPrefix(c.Reason, tc.want) || (tc.want == "") != (c.Reason == "") {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// TestSourceAge keeps a daemon that starts without its Postgres from calling old
// data fresh.
func TestSourceAge(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		s      replicate.Status
		commit time.Time
		want   time.Duration
	}{
		"level":                 {replicate.Status{Connected: true, LastLevel: now}, now.Add(-time.Hour), 0},
		"interrupted":           {replicate.Status{LastLevel: now.Add(-time.Minute), LagSeconds: 60}, now.Add(-time.Hour), time.Minute},
		"unreachable at start":  {replicate.Status{}, now.Add(-time.Hour), time.Hour},
		"catching up at start":  {replicate.Status{Connected: true, LagSeconds: 1}, now.Add(-time.Hour), time.Hour},
		"the other clock leads": {replicate.Status{Connected: true, LagSeconds: 1}, now.Add(time.Hour), time.Second},
		"nothing known":         {replicate.Status{}, time.Time{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sourceAge(tc.s, tc.commit, now); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestReplicationMoves(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		s  replicate.Status
		ok bool
	}{
		"fresh":   {replicate.Status{Phase: replicate.PhaseStreaming, LastEvent: now.Add(-time.Second)}, true},
		"stuck":   {replicate.Status{Phase: replicate.PhaseStreaming, LastEvent: now.Add(-time.Hour)}, false},
		"waiting": {replicate.Status{Phase: replicate.PhaseWaiting, LastEvent: now.Add(-time.Hour)}, true},
		"copying": {replicate.Status{Phase: replicate.PhaseCopying}, true},
	} {
		if err := replicationMoves(tc.s, now); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfirm(t *testing.T) {
	for name, tc := range map[string]struct {
		tty, yes bool
		answer   string
		ok       bool
	}{
		"yes flag":       {false, true, "", true},
		"a pipe":         {false, false, "y\n", true},
		"a pipe, no":     {false, false, "no\n", false},
		"nobody":         {false, false, "", false},
		"y":              {true, false, "y\n", true},
		"YES":            {true, false, "YES\n", true},
		"n":              {true, false, "n\n", false},
		"return":         {true, false, "\n", false},
		"end of input":   {true, false, "", false},
		"without return": {true, false, "yes", true},
	} {
		a := &app{stdio: stdio{in: strings.NewReader(tc.answer), err: io.Discard, tty: tc.tty}}
		if err := a.confirm("Really?", tc.yes); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrinters(t *testing.T) {
	s := shape{columns: []string{"id", "n", "f"}, brief: []int{0, 2}}
	rows := [][]any{{"a\n\x1b[31m\u202eb", int32(7), math.NaN()}, {`q"uo,te`, int32(-1), 1234567.5}, {"é", int32(0), math.Inf(-1)}, {"", int32(1), 1e300}}
	for format, want := range map[string]string{
		"table": "ID         F\na  [31m b  NaN\nq\"uo,te    1234567.5\né          -Infinity\n           1e+300\n",
		"csv":   "id,n,f\n\"a\n\x1b[31m\u202eb\",7,NaN\n\"q\"\"uo,te\",-1,1234567.5\né,0,-Infinity\n,1,1e+300\n",
		"jsonl": `{"id":"a\n\u001b[31m` + "\u202e" + `b","n":7,"f":"NaN"}` + "\n" + `{"id":"q\"uo,te","n":-1,"f":1234567.5}` + "\n" + `{"id":"é","n":0,"f":"-Infinity"}` + "\n" + `{"id":"","n":1,"f":1e+300}` + "\n",
	} {
		var b strings.Builder
		p, err := newPrinter(&b, format, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if err := p.row(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.end(); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%q\n%q", format, err, b.String(), want)
		}
	}
}

func TestCompareRows(t *testing.T) {
	got := compareRows(map[string]string{"a": "1", "b": "2", "d": "4"}, map[string]string{"b": "2", "c": "3", "d": "5"})
	want := map[string]difference{"a": {"1", ""}, "c": {"", "3"}, "d": {"4", "5"}}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestHealthcheckFollowsTheConfiguration(t *testing.T) {
	p := start(t, embedded(t), "serve")
	_, port, _ := strings.Cut(p.grpc, ":")
	for _, listen := range []string{p.grpc, "0.0.0.0:" + port, ":" + port} {
		must(t, []string{"CARBOND_GRPC_LISTEN=" + listen}, "healthcheck")
	}
	if code, _, _ := command(t, []string{"CARBOND_GRPC_LISTEN=" + p.grpc}, "healthcheck", "--addr", "127.0.0.1:1"); code != 1 {
		t.Error("--addr does not win")
	}
}

// TestHealthcheckOfTLS is the HEALTHCHECK of the image, which has no flags, with
// every kind of certificates.
func TestHealthcheckOfTLS(t *testing.T) {
	servers, clients := certstest.NewCA(t), certstest.NewCA(t)
	cert, key := servers.Issue(t, "carbond.example.org")
	grpcTLS := []string{"CARBOND_GRPC_TLS_CERT=" + cert, "CARBOND_GRPC_TLS_KEY=" + key}
	httpTLS := []string{"CARBOND_HTTP_TLS_CERT=" + cert, "CARBOND_HTTP_TLS_KEY=" + key}
	for name, env := range map[string][]string{
		"server":                   grpcTLS,
		"clients of another CA":    append(slices.Clip(grpcTLS), "CARBOND_GRPC_CLIENT_CA="+clients.File(t)),
		"the same, HTTP with TLS":  append(append(slices.Clip(grpcTLS), httpTLS...), "CARBOND_GRPC_CLIENT_CA="+clients.File(t)),
		"one CA for both, no HTTP": append(append(slices.Clip(grpcTLS), httpTLS...), "CARBOND_GRPC_CLIENT_CA="+servers.File(t), "CARBOND_HTTP_CLIENT_CA="+clients.File(t)),
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, append(embedded(t), env...), "serve")
			env := append(slices.Clip(env), "CARBOND_GRPC_LISTEN="+p.grpc, "CARBOND_HTTP_LISTEN="+p.http)
			if out := must(t, env, "healthcheck"); !strings.Contains(out, "SERVING") {
				t.Errorf("got %q", out)
			}
			p.stop()
			if code, out, _ := command(t, env, "healthcheck"); code != 1 {
				t.Errorf("of a daemon that is gone: exit code %d, %q", code, out)
			}
		})
	}
}

// TestURLThatCannotBeHonoured is refused before anything starts.
func TestURLThatCannotBeHonoured(t *testing.T) {
	env := append(embedded(t), "CARBOND_POSTGRES_URL=postgres://u:s3cret@127.0.0.1:1/x?requirepeer=postgres")
	for _, args := range [][]string{{"check-config"}, {"serve"}, {"doctor"}, {"feeds", "fetch", "news"}} {
		code, out, errs := command(t, env, args...)
		if text := out + errs; code != 78 || !strings.Contains(text, "CARBOND_POSTGRES_URL: postgres.url: requirepeer is not supported") || strings.Contains(text, "s3cret") {
			t.Errorf("%v: exit code %d\n%s", args, code, text)
		}
	}
}
