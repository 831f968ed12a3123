package news

import (
	"cmp"
	"slices"
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
	Published     string    `json:"published"`      // PublishedAt in Layout, UTC
	PublishedAt   time.Time `json:"published_at"`   // whole seconds, UTC
	DateEstimated bool      `json:"date_estimated,omitempty"`
	Source        string    `json:"source"`
	Summary       string    `json:"summary,omitempty"`
}

// Feed is what a document held.
type Feed struct {
	Items   []Item        `json:"items"`           // newest first, each story once
	Total   int           `json:"total"`           // items of the document before anything was dropped, for CheckEmpty
	Dropped Dropped       `json:"dropped"`         // why Items is shorter than Total
	Every   time.Duration `json:"every,omitempty"` // interval that the publisher asks for, 0 for none
}

// Dropped counts the items of a document that gave no story.
type Dropped struct {
	NoTitle    int `json:"no_title,omitempty"`
	NoIdentity int `json:"no_identity,omitempty"` // neither usable link nor id
	Duplicate  int `json:"duplicate,omitempty"`
	Sponsored  int `json:"sponsored,omitempty"`
	Unrelated  int `json:"unrelated,omitempty"` // not about carbon markets
	Malformed  int `json:"malformed,omitempty"` // no objects (GDELT)
	OverLimit  int `json:"over_limit,omitempty"`
}

// draft is an item as the document has it.
type draft struct {
	title, link, id, summary string
	categories               []string
	at                       *time.Time
	sponsored                bool
}

// collector turns drafts into stories.
type collector struct {
	src  Source
	now  time.Time
	feed Feed
	at   map[string]int // GUID -> index in kept
	kept []Item
	fate []fate // what becomes of it, by index
}

func collect(src Source, now time.Time) *collector {
	return &collector{src: src, now: now.UTC().Truncate(time.Second), at: make(map[string]int)}
}

// add judges one draft. Identity comes first, so that Dropped tells duplicates
// from strangers.
func (c *collector) add(d draft) {
	c.feed.Total++
	it := Item{Title: text.Clean(d.title, MaxTitle), Source: c.src.Name, Link: d.link}
	if it.Title == "" {
		c.feed.Dropped.NoTitle++
		return
	}
	switch {
	case d.link != "":
		it.GUID = GUID(d.link)
	case strings.TrimSpace(d.id) != "":
		// Such ids are only unique within their feed.
		it.GUID = hash(c.src.Feed + "\n" + strings.TrimSpace(d.id))
	default:
		c.feed.Dropped.NoIdentity++
		return
	}
	it.PublishedAt, it.DateEstimated = c.when(d.at)
	it.Published = it.PublishedAt.Format(Layout)
	it.Summary = text.Clean(footer(d.summary), MaxSummary)
	f := c.judge(d, it)
	if i, seen := c.at[it.GUID]; seen {
		c.feed.Dropped.Duplicate++
		if !better(it, c.kept[i]) {
			return
		}
		c.kept[i], c.fate[i] = it, f
		return
	}
	c.at[it.GUID] = len(c.kept)
	c.kept, c.fate = append(c.kept, it), append(c.fate, f)
}

// better reports whether a later copy of a story replaces the earlier one: only
// when its date is newer, and known. Feeds list the newest first.
func better(later, earlier Item) bool {
	if later.DateEstimated != earlier.DateEstimated {
		return earlier.DateEstimated
	}
	return later.PublishedAt.After(earlier.PublishedAt)
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
func (c *collector) judge(d draft, it Item) fate {
	if d.sponsored {
		return paidFor
	}
	if c.src.Everything || Match(it.Title, text.Clean(d.summary, 0)) {
		return wanted
	}
	for _, s := range d.categories {
		if Match(text.Clean(s, MaxTitle)) {
			return wanted
		}
	}
	return unrelated
}

// oldest is the earliest date that is believed.
var oldest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// when repairs a date: what is missing or cannot be true becomes the time of
// fetching.
func (c *collector) when(at *time.Time) (t time.Time, estimated bool) {
	if at == nil || at.Before(oldest) || at.After(c.now.Add(time.Hour)) {
		return c.now, true
	}
	return at.UTC().Truncate(time.Second), false
}

// finish orders the stories and applies the limit.
func (c *collector) finish() *Feed {
	items := make([]Item, 0, len(c.kept))
	for i, it := range c.kept {
		switch c.fate[i] {
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
