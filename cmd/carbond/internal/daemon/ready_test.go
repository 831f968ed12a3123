package daemon

import (
	"strings"
	"testing"
	"time"

	"carbond/feeds"
	"carbond/replicate"
	"carbond/replicate/pgerr"
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
		"gap":                {replicate.Status{Phase: replicate.PhaseWaiting, LastLevel: level, LagSeconds: 1, Kind: pgerr.KindSlotLost, Reason: "slot lost"}, true, 30, false, "slot lost"},
		"gap, new attempt":   {replicate.Status{Phase: replicate.PhaseChecking, LastLevel: level, Kind: pgerr.KindServerBehind, Reason: "behind"}, true, 0, false, "behind"},
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

// /readyz names a feed from its first failure on, and says more the longer it lasts.
func TestFeedTrouble(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		feed feeds.FeedStatus
		want string
	}{
		"well":        {feeds.FeedStatus{Name: "verra", LastSuccess: at}, ""},
		"fails":       {feeds.FeedStatus{Name: "verra", LastSuccess: at, Failures: 2, LastError: "HTTP 500"}, "verra failed 2 times in a row: HTTP 500"},
		"stale":       {feeds.FeedStatus{Name: "verra", LastSuccess: at, Failures: 9, Stale: true, LastError: "HTTP 500"}, "verra is stale since 2026-11-23T10:00:00Z: HTTP 500"},
		"never there": {feeds.FeedStatus{Name: "verra", Failures: 9, Stale: true, LastError: "HTTP 500"}, "verra has not succeeded yet: HTTP 500"},
		"disabled":    {feeds.FeedStatus{Name: "news/x", Failures: 1, Disabled: "410"}, "news/x is disabled: 410"},
	}
	for name, tc := range tests {
		if got := feedTrouble(tc.feed); got != tc.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
