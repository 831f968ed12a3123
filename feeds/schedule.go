package feeds

import (
	"hash/fnv"
	"math/rand/v2"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// Figures of the schedule.
const (
	backoffMost   = time.Hour
	authWait      = time.Hour
	startWindow   = time.Minute // first polls are spread over this
	notFoundLimit = 3 * 24 * time.Hour
	dueMost       = fetch.MaxRetryAfter + time.Hour // a due time further off comes from a clock that was wrong
)

// startOffset spreads the first polls of many feeds, the same way each start.
func startOffset(name string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	window := min(interval, startWindow)
	if window <= 0 {
		return 0
	}
	return time.Duration(h.Sum64() % uint64(window))
}

// backoff is the wait after the n-th failure in a row: at least the interval,
// at most the interval times 2^n or longest, with full jitter between.
func backoff(interval, longest time.Duration, n int) time.Duration {
	most := interval
	for range min(n, 20) {
		if most >= longest {
			break
		}
		most *= 2
	}
	most = max(min(most, longest), interval)
	if most == interval {
		return fetch.Jitter(interval, 0.1)
	}
	return interval + rand.N(most-interval)
}

// settle updates st after a poll that went from begin to now and ended with
// err, and returns the wait that a failure caused (0 after a success).
func settle(st *feedState, src poll.Source, res poll.Result, err error, begin, now time.Time) time.Duration {
	interval := src.Interval(now)
	if err == nil {
		st.Failures, st.LastSuccess, st.NotFoundSince = 0, now, time.Time{}
		st.Disabled, st.DisabledAt = "", time.Time{}
		st.LastError, st.LastErrorKind, st.LastErrorAt, st.Advice = "", "", time.Time{}, ""
		if !res.Partial || st.Items == 0 {
			st.Items = res.Items
		}
		st.Notes = res.Notes
		// From the begin, so that long polls keep the pace, but never at once.
		st.NextDue = poll.Later(begin.Add(fetch.Jitter(interval, 0.1)), now.Add(interval/10))
		return 0
	}
	kind, asked := fetch.KindOf(err), fetch.AskedWait(err)
	if kind == fetch.KindCanceled {
		return 0 // shutting down: due as before
	}
	if kind != fetch.KindPaused || st.LastError == "" {
		st.LastError, st.LastErrorAt, st.Advice = err.Error(), now, fetch.Advice(err) // why a host is paused says more than that it is
	}
	st.LastErrorKind = kind
	longest := backoffMost
	switch {
	case src.Local():
		longest = fetch.MaxLocalWait
	case kind == fetch.KindNetwork:
		longest = fetch.MaxOfflineWait
	}
	wait := time.Duration(0)
	switch kind {
	case fetch.KindPaused:
		wait = asked + rand.N(max(interval/10, time.Second)) // nobody was asked: no failure of this feed
	case fetch.KindAuth:
		st.Failures++
		wait = max(min(authWait, longest), asked)
	default:
		st.Failures++
		wait = backoff(interval, longest, st.Failures)
		if asked > 0 {
			wait = max(asked, interval)
		}
	}
	disable(st, src, kind, now)
	st.NextDue = now.Add(wait)
	return wait
}

// disable switches a feed off whose address is gone: at once after a 410, after
// three days of 404.
func disable(st *feedState, src poll.Source, kind fetch.Kind, now time.Time) {
	if kind != fetch.KindNotFound {
		if kind != fetch.KindPaused && kind != fetch.KindNetwork && kind != fetch.KindTimeout {
			st.NotFoundSince = time.Time{}
		}
	} else if st.NotFoundSince.IsZero() {
		st.NotFoundSince = now
	}
	if !src.Volatile() {
		return
	}
	switch {
	case kind == fetch.KindGone:
		st.Disabled = "the address answers 410 Gone: remove the feed or correct its address"
	case kind == fetch.KindNotFound && now.Sub(st.NotFoundSince) >= notFoundLimit:
		st.Disabled = "the address answered 404 Not Found for three days: remove the feed or correct its address"
	default:
		return
	}
	st.DisabledAt = now
}
