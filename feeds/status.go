package feeds

import (
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// The least ages at which feeds count as stale by themselves.
const (
	staleLeast = 30 * time.Minute
	staleLocal = time.Minute // of an upstream on the user's own machine
)

// FeedStatus is what an operator sees of one feed.
type FeedStatus struct {
	Name          string     `json:"name"`
	Table         string     `json:"table"`
	State         string     `json:"state"` // waiting, polling, ok, failing, paused or disabled
	LastPoll      time.Time  `json:"last_poll,omitzero"`
	LastSuccess   time.Time  `json:"last_success,omitzero"`
	NextDue       time.Time  `json:"next_due,omitzero"`
	Items         int        `json:"items"` // at the last good poll
	Polls         uint64     `json:"polls"`
	Failures      int        `json:"failures"` // in a row
	LastError     string     `json:"last_error,omitempty"`
	LastErrorKind fetch.Kind `json:"last_error_kind,omitempty"`
	LastErrorAt   time.Time  `json:"last_error_at,omitzero"`
	Advice        string     `json:"advice,omitempty"`   // what to do about LastError
	Disabled      string     `json:"disabled,omitempty"` // reason
	// Stale is set when the last success, or the start of this run, is older
	// than the feed's limit: a readiness reason, not one to stop serving.
	Stale      bool          `json:"stale"`
	StaleAfter time.Duration `json:"stale_after"`
	Notes      []string      `json:"notes,omitempty"` // such as possibly delisted tickers
}

// Status lists all feeds in the order of configuration.
func (r *Runner) Status() []FeedStatus {
	now := r.clock.Now()
	out := make([]FeedStatus, 0, len(r.entries))
	for _, e := range r.entries {
		e.mu.Lock()
		st, polling, interval := e.state, e.polling, e.interval
		e.mu.Unlock()
		out = append(out, r.status(e.src, st, polling, interval, now))
	}
	return out
}

func (r *Runner) status(src poll.Source, st feedState, polling bool, interval time.Duration, now time.Time) FeedStatus {
	s := FeedStatus{
		Name: src.Name(), Table: src.Table(), LastPoll: st.LastPoll, LastSuccess: st.LastSuccess, NextDue: st.NextDue,
		Items: st.Items, Polls: st.Polls, Failures: st.Failures, LastError: st.LastError, LastErrorKind: st.LastErrorKind,
		LastErrorAt: st.LastErrorAt, Advice: st.Advice, Disabled: st.Disabled, Notes: st.Notes,
	}
	s.StaleAfter = r.opt.StaleAfter
	if s.StaleAfter <= 0 {
		least := staleLeast
		if src.Local() {
			least = staleLocal
		}
		s.StaleAfter = max(10*interval, least)
	}
	since := st.LastSuccess
	if since.IsZero() {
		since = r.started
	}
	s.Stale = now.Sub(since) > s.StaleAfter
	switch {
	case st.Disabled != "":
		s.State = "disabled"
	case polling:
		s.State = "polling"
	case st.LastErrorKind == fetch.KindPaused:
		s.State = "paused"
	case st.Failures > 0:
		s.State = "failing"
	case st.LastSuccess.IsZero():
		s.State = "waiting"
	default:
		s.State = "ok"
	}
	return s
}
