package feeds

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Figures of the schedule.
const (
	backoffMost   = time.Hour
	offlineMost   = 10 * time.Minute // nobody was reached: the fault is likely here, and nobody is burdened
	authWait      = time.Hour
	localMost     = 5 * time.Second // a wait for the user's own machine, unless its interval is longer or it asks for more
	startWindow   = time.Minute     // first polls are spread over this
	localFull     = 10              // polls of the user's own machine from one full reading to the next, at most
	notFoundLimit = 3 * 24 * time.Hour
	dueMost       = retryAfterMax + time.Hour // a due time further off comes from a clock that was wrong
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
		return jitter(interval, 0.1)
	}
	return interval + rand.N(most-interval)
}

// settle updates st after a poll that went from begin to now and ended with
// err, and returns the wait that a failure caused (0 after a success).
func settle(st *feedState, src source, res result, err error, begin, now time.Time) time.Duration {
	interval := src.interval(now)
	if err == nil {
		st.Failures, st.LastSuccess, st.NotFoundSince = 0, now, time.Time{}
		st.Disabled, st.DisabledAt = "", time.Time{}
		st.LastError, st.LastErrorKind, st.LastErrorAt = "", "", time.Time{}
		if !res.partial || st.Items == 0 {
			st.Items = res.items
		}
		st.Notes = res.notes
		// From the begin, so that long polls keep the pace, but never at once.
		st.NextDue = later(begin.Add(jitter(interval, 0.1)), now.Add(interval/10))
		return 0
	}
	kind, asked := KindOf(err), askedWait(err)
	if kind == KindCanceled {
		return 0 // shutting down: due as before
	}
	if kind != KindPaused || st.LastError == "" {
		st.LastError, st.LastErrorAt = err.Error(), now // why a host rests says more than that it does
	}
	st.LastErrorKind = kind
	longest := backoffMost
	switch {
	case src.local():
		longest = localMost
	case kind == KindNetwork:
		longest = offlineMost
	}
	wait := time.Duration(0)
	switch kind {
	case KindPaused:
		wait = asked + rand.N(max(interval/10, time.Second)) // nobody was asked: no failure of this feed
	case KindAuth:
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
func disable(st *feedState, src source, kind Kind, now time.Time) {
	if kind != KindNotFound {
		if kind != KindPaused && kind != KindNetwork && kind != KindTimeout {
			st.NotFoundSince = time.Time{}
		}
	} else if st.NotFoundSince.IsZero() {
		st.NotFoundSince = now
	}
	if !src.volatile() {
		return
	}
	switch {
	case kind == KindGone:
		st.Disabled = "the address answers 410 Gone: remove the feed or correct its address"
	case kind == KindNotFound && now.Sub(st.NotFoundSince) >= notFoundLimit:
		st.Disabled = "the address answered 404 Not Found for three days: remove the feed or correct its address"
	default:
		return
	}
	st.DisabledAt = now
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// askedWait is how long upstream, or the record of its host, asked to wait.
func askedWait(err error) time.Duration {
	for err != nil {
		if e, ok := err.(*Error); ok && e.RetryAfter > 0 {
			return e.RetryAfter
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}
