package feeds

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Figures of the schedule.
const (
	backoffMost   = time.Hour
	authWait      = time.Hour
	startWindow   = time.Minute // first polls are spread over this
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
// at most the interval times 2^n or an hour, with full jitter between.
func backoff(interval time.Duration, n int) time.Duration {
	most := interval
	for range min(n, 20) {
		if most >= backoffMost {
			break
		}
		most *= 2
	}
	most = max(min(most, backoffMost), interval)
	if most == interval {
		return jitter(interval, 0.1)
	}
	return interval + rand.N(most-interval)
}

// settle updates st after a poll that ended at now with err, and returns the
// wait that a failure caused (0 after a success).
func settle(st *feedState, src source, res result, err error, now time.Time) time.Duration {
	interval := src.interval(now)
	if err == nil {
		st.Failures, st.LastSuccess, st.NotFoundSince = 0, now, time.Time{}
		st.Disabled, st.DisabledAt = "", time.Time{}
		st.LastError, st.LastErrorKind, st.LastErrorAt = "", "", time.Time{}
		if !res.partial || st.Items == 0 {
			st.Items = res.items
		}
		st.Notes = res.notes
		st.NextDue = now.Add(jitter(interval, 0.1))
		return 0
	}
	kind, asked := KindOf(err), askedWait(err)
	st.LastError, st.LastErrorKind, st.LastErrorAt = err.Error(), kind, now
	wait := time.Duration(0)
	switch kind {
	case KindCanceled:
		return 0 // shutting down: due as before
	case KindPaused:
		wait = asked + rand.N(max(interval/10, time.Second)) // nobody was asked: no failure of this feed
	case KindAuth:
		st.Failures++
		wait = max(authWait, asked)
	default:
		st.Failures++
		wait = backoff(interval, st.Failures)
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
