package daemon

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/store"
	"carbond/store/change"
)

const (
	consoleFor   = time.Second     // a page is used for that long, however many ask
	groupsFor    = 5 * time.Second // the age of a group's lag is read from the log
	shownGroups  = 100
	shownRows    = 8
	shownText    = 200     // characters of a text that comes from elsewhere
	shownLink    = 4 << 10 // bytes
	newestBytes  = 1 << 10 // asked of the log for the newest changes; it gives whole blocks
	trendEvery   = 5 * time.Second
	trendSamples = 121 // ten minutes
)

// console makes what the page shows, at most once in consoleFor.
type console struct {
	mu       sync.Mutex // guards what follows
	page     admin.Console
	groupsAt time.Time
	groups   []change.Group
	trend    []admin.Sample // a ring
	next     int
}

// consolePage is what the page shows.
func (d *Daemon) consolePage() admin.Console {
	d.console.mu.Lock()
	defer d.console.mu.Unlock()
	if time.Since(d.console.page.Made) < consoleFor {
		return d.console.page
	}
	p := admin.Console{Status: d.statusWith(d.console.recentGroups(d.store)), Made: time.Now(), Every: trendEvery, History: d.console.history()}
	// Rows are shown to those who could ask the API for them. A page that asks
	// nobody who they are leaves them out when the API does ask.
	cfg := d.cfg.Load()
	p.Withheld = (cfg.GRPC.TokensFile != "" || cfg.GRPC.TLS.ClientCA != "") && cfg.HTTP.TLS.ClientCA == ""
	if !p.Withheld {
		d.newestRows(&p)
	}
	d.console.page = p
	return p
}

// recentGroups lists the groups; a look is used for groupsFor. The caller holds mu.
func (c *console) recentGroups(s *store.Store) []change.Group {
	if time.Since(c.groupsAt) >= groupsFor {
		c.groups, c.groupsAt = s.Groups(), time.Now()
	}
	return c.groups
}

// sampleTrend notes a point of the charts.
func (d *Daemon) sampleTrend() {
	s := admin.Sample{Offset: uint64(d.store.Position().Offset)}
	if d.source != nil {
		s.Lag = d.source.Status().LagSeconds
	}
	c := &d.console
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.trend) < trendSamples {
		c.trend = append(c.trend, s)
		return
	}
	c.trend[c.next] = s
	c.next = (c.next + 1) % trendSamples
}

// history returns the samples, oldest first. The caller holds mu.
func (c *console) history() []admin.Sample {
	return slices.Concat(c.trend[c.next:], c.trend[:c.next])
}

// newestRows fills in a few rows of everything.
func (d *Daemon) newestRows(p *admin.Console) {
	s := d.store.Snapshot()
	for n := range first(s.News(""), shownRows) {
		p.News = append(p.News, admin.Headline{Title: brief(n.Title), Link: address(n.Link), Source: brief(n.Source), Published: brief(n.Published)})
	}
	for q := range first(s.Quotes("", ""), shownRows) {
		p.Quotes = append(p.Quotes, admin.Quote{Ticker: brief(q.Ticker), Price: q.Price, Change: q.ChangePercent, Currency: brief(q.Currency), At: time.Unix(q.Timestamp, 0)})
	}
	for r := range first(s.Projects("", ""), shownRows) {
		p.Projects = append(p.Projects, admin.Project{ID: brief(r.ProjectID), Name: brief(r.ProjectName), Country: brief(r.Country), Status: brief(r.RegistryStatus), Supply: r.Supply})
	}
	p.Changes = newestChanges(d.store)
}

// newestChanges reads the last changes from the log. A log that cannot be read
// says so elsewhere; the page goes without.
func newestChanges(s *store.Store) []admin.Change {
	end := s.Position().Offset
	r := s.NewReader(max(end-min(end, shownRows)+1, s.Oldest()))
	var out []admin.Change
	for len(out) < shownRows {
		recs, err := r.Read(newestBytes)
		if err != nil || len(recs) == 0 {
			break
		}
		for i := range recs {
			if c := &recs[i]; c.Op != change.Retract {
				out = append(out, admin.Change{
					Offset: uint64(c.Offset), At: c.CommitTime, Topic: c.Relation.Topic(), Op: opWord(c.Op), Key: brief(keyText(&c.Change)),
				})
			}
		}
	}
	out = out[max(0, len(out)-shownRows):]
	slices.Reverse(out)
	return out
}

func opWord(o change.Op) string {
	switch o {
	case change.Create:
		return "new"
	case change.Update:
		return "changed"
	case change.Delete:
		return "gone"
	case change.Read:
		return "copied"
	case change.Truncate:
		return "emptied"
	}
	return o.String()
}

// keyText prints the key of a changed row.
func keyText(c *change.Change) string {
	row := c.After
	if row == "" {
		row = c.Before
	}
	var parts []string
	keys := change.KeyColumns(c.Relation.Name)
	if c.Relation.Plain {
		keys = nil
	}
	for i, v := range row.All() {
		if i < len(c.Relation.Columns) && (slices.Contains(keys, c.Relation.Columns[i].Name) || c.Relation.Plain && c.Relation.Columns[i].Key) {
			parts = append(parts, v.Text)
		}
	}
	return strings.Join(parts, " ")
}

// first yields at most n of seq.
func first[T any](seq iter.Seq[T], n int) iter.Seq[T] {
	return func(yield func(T) bool) {
		left := n
		for v := range seq {
			if left--; left < 0 || !yield(v) {
				return
			}
		}
	}
}

// brief cuts a text that comes from elsewhere. It is a copy: the text shares
// memory with its row, which the page would keep, however large it is.
func brief(s string) string {
	left := shownText
	for i := range s {
		if left--; left < 0 {
			return s[:i] + "\u2026"
		}
	}
	return strings.Clone(s)
}

// address copies a link, and leaves out one that is too long to be one.
func address(link string) string {
	if len(link) > shownLink {
		return ""
	}
	return strings.Clone(link)
}
