package news

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"carbond/feeds/internal/text"
)

// Limits of what is kept of a story, in characters and items.
const (
	MaxTitle   = 300
	MaxSummary = 500
	MaxItems   = 500 // newest items of one feed
)

// Layout is the form of Item.Published: RFC 822 with a four-digit year and a
// numeric zone.
const Layout = time.RFC1123Z

// Item is one story, a row of the news table.
type Item struct {
	GUID          string    `json:"guid"`
	Title         string    `json:"title"`
	Link          string    `json:"link,omitempty"` // "" when the feed gives no usable one
	Published     string    `json:"published"`      // PublishedAt in Layout, UTC; "" when unknown
	PublishedAt   time.Time `json:"published_at"`   // whole seconds, UTC; zero when neither the story nor any other of its document has a date
	DateEstimated bool      `json:"date_estimated,omitempty"`
	Source        string    `json:"source"`
	Summary       string    `json:"summary,omitempty"`
}

// Feed is what a document held.
type Feed struct {
	Items   []Item        `json:"items"`           // newest first, those without a date last, each story once
	Total   int           `json:"total"`           // items of the document before anything was dropped, for CheckEmpty
	Dropped Dropped       `json:"dropped"`         // why Items is shorter than Total
	Every   time.Duration `json:"every,omitempty"` // interval that the publisher asks for, 0 for none
	Cut     bool          `json:"cut,omitempty"`   // the document ends too early: there may be more in it
	// Shared are the GUIDs of links that several stories of this feed have had.
	// Callers pass them to the next Parse, so that a story keeps its identity when
	// the others are gone.
	Shared []string `json:"shared,omitempty"`
}

// Dropped counts the items of a document that gave no story.
type Dropped struct {
	NoTitle   int `json:"no_title,omitempty"`
	Duplicate int `json:"duplicate,omitempty"`
	Sponsored int `json:"sponsored,omitempty"`
	Unrelated int `json:"unrelated,omitempty"` // not about carbon markets
	Malformed int `json:"malformed,omitempty"` // no objects (GDELT, JSON Feed)
	OverLimit int `json:"over_limit,omitempty"`
}

// String lists the counts that are not zero, "" for none.
func (d Dropped) String() string {
	var parts []string
	for _, p := range []struct {
		n   int
		why string
	}{
		{d.Unrelated, "unrelated to carbon markets"},
		{d.NoTitle, "without a title"},
		{d.Duplicate, "duplicates"},
		{d.Sponsored, "sponsored"},
		{d.Malformed, "malformed"},
		{d.OverLimit, "beyond the newest " + strconv.Itoa(MaxItems)},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.why))
		}
	}
	return strings.Join(parts, ", ")
}

// draft is an item as the document has it.
type draft struct {
	title, link, id, summary string
	fragment                 string // of link
	categories               []string
	dates                    []string // the best first
	sponsored                bool

	at    time.Time // zero = no readable date
	guess bool      // at is not what the document says
}

// take makes link the draft's own if it is usable.
func (d *draft) take(link string, against *url.URL) bool {
	clean, ok := CleanLink(link, against)
	if !ok {
		return false
	}
	d.link = clean
	if _, fragment, ok := strings.Cut(strings.TrimSpace(link), "#"); ok && !strings.ContainsAny(fragment, "@ \t") && len(fragment) < 200 {
		d.fragment = fragment
	}
	return true
}

// collector turns drafts into stories.
type collector struct {
	src    Source
	now    time.Time
	shared map[string]bool
	feed   Feed
	drafts []draft
}

// add takes one draft. What becomes of it may depend on all others.
func (c *collector) add(d draft) {
	c.feed.Total++
	if d.title = text.Clean(d.title, MaxTitle); d.title == "" {
		c.feed.Dropped.NoTitle++
		return
	}
	for _, s := range d.dates {
		if at, exact, ok := readDate(s, c.now); ok && !at.Before(oldest) && !at.After(c.now.Add(time.Hour)) {
			d.at, d.guess = at.Truncate(time.Second), !exact
			break
		}
	}
	c.drafts = append(c.drafts, d)
}

// oldest is the earliest date that is believed.
var oldest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// dateNeighbours gives drafts without a date that of the nearest one with a
// date: feeds are in order.
func (c *collector) dateNeighbours() {
	nearest := make([]int, len(c.drafts)) // the last dated one before, or -1
	last := -1
	for i, d := range c.drafts {
		if !d.at.IsZero() {
			last = i
		}
		nearest[i] = last
	}
	next := -1
	for i := len(c.drafts) - 1; i >= 0; i-- {
		from := nearest[i]
		if from == i {
			next = i
			continue
		}
		if from < 0 || next >= 0 && next-i < i-from {
			from = next
		}
		d := &c.drafts[i]
		if d.guess = true; from >= 0 {
			d.at = c.drafts[from].at
		}
	}
}

// fate is what becomes of a story.
type fate uint8

const (
	wanted fate = iota
	paidFor
	unrelated
)

// judge decides about a story. The whole summary counts, not only the part that
// is kept.
func (c *collector) judge(d draft) fate {
	if d.sponsored {
		return paidFor
	}
	if c.src.Everything {
		return wanted
	}
	more := []string{text.Clean(d.summary, 0)}
	for _, s := range d.categories {
		more = append(more, text.Clean(s, MaxTitle))
	}
	if c.src.Words.Match(d.title, more...) {
		return wanted
	}
	return unrelated
}

// finish turns the drafts into stories, each once, orders them and applies the
// limit.
func (c *collector) finish() *Feed {
	c.dateNeighbours()
	guids := c.identify()
	at := make(map[string]int, len(guids)) // GUID -> index in kept
	var kept []Item
	var fates []fate
	for i, d := range c.drafts {
		it, f := c.item(d, guids[i]), c.judge(d)
		if n, seen := at[it.GUID]; seen {
			c.feed.Dropped.Duplicate++
			if better(it, kept[n]) {
				kept[n], fates[n] = it, f
			}
			continue
		}
		at[it.GUID] = len(kept)
		kept, fates = append(kept, it), append(fates, f)
	}
	items := make([]Item, 0, len(kept))
	for i, it := range kept {
		switch fates[i] {
		case wanted:
			items = append(items, it)
		case paidFor:
			c.feed.Dropped.Sponsored++
		case unrelated:
			c.feed.Dropped.Unrelated++
		}
	}
	slices.SortStableFunc(items, func(a, b Item) int {
		return cmp.Or(b.PublishedAt.Compare(a.PublishedAt), strings.Compare(a.GUID, b.GUID))
	})
	if len(items) > MaxItems {
		c.feed.Dropped.OverLimit = len(items) - MaxItems
		items = items[:MaxItems]
	}
	c.feed.Items = items
	return &c.feed
}

func (c *collector) item(d draft, guid string) Item {
	it := Item{
		GUID: guid, Title: d.title, Link: d.link, Source: c.src.Name, Summary: text.Clean(footer(d.summary), MaxSummary),
		PublishedAt: d.at, DateEstimated: d.guess,
	}
	if guid != "" && d.link != "" && d.fragment != "" && guid != GUID(d.link) {
		it.Link += "#" + d.fragment
	}
	if !d.at.IsZero() {
		it.Published = d.at.Format(Layout)
	}
	return it
}

// better reports whether a later copy of a story replaces the earlier one: only
// when its date is newer, and known. Feeds list the newest first.
func better(later, earlier Item) bool {
	if later.DateEstimated != earlier.DateEstimated {
		return earlier.DateEstimated
	}
	return later.PublishedAt.After(earlier.PublishedAt)
}

// footer cuts what publishers add to every summary: WordPress "The post <a
// href=...>title</a> appeared first on <a href=...>site</a>.", and the link that
// continues the story.
func footer(summary string) string {
	if i := strings.LastIndex(summary, "The post "); i >= 0 && strings.Contains(summary[i:], "appeared first on") {
		summary = summary[:i]
	}
	if i := strings.LastIndex(summary, "Continue reading"); i >= 0 && len(summary)-i < 40 {
		summary = summary[:i]
	}
	return summary
}
