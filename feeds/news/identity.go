package news

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxShared bounds the shared links that a feed remembers.
const maxShared = 500

// identify returns the identity of each draft. It is the md5 of the canonical
// link where that belongs to one story. Stories that share a link (a page of
// notices, a live blog) are told apart by their own id, else by the fragment of
// the link, else by their title. A story without a link goes by its id, one
// without both by its title and date; these are unique within their feed only.
func (c *collector) identify() []string {
	groups := map[string][]int{} // by GUID of the link
	out := make([]string, len(c.drafts))
	for i, d := range c.drafts {
		switch {
		case d.link != "":
			g := GUID(d.link)
			groups[g] = append(groups[g], i)
			out[i] = g
		case strings.TrimSpace(d.id) != "":
			out[i] = hash(c.src.Feed + "\n" + strings.TrimSpace(d.id))
		default:
			key := c.src.Feed + "\n" + d.title
			if !d.at.IsZero() && !d.guess {
				key += "\n" + d.at.Format(time.RFC3339)
			}
			out[i] = hash(key)
		}
	}
	for g, members := range groups {
		if len(members) == 1 && !c.shared[g] {
			continue
		}
		keys, stories := c.tell(members)
		if stories == 1 && !c.shared[g] {
			continue
		}
		c.shared[g] = true
		for n, i := range members {
			out[i] = hash(Canonical(c.drafts[i].link) + "\n" + keys[n])
		}
	}
	c.feed.Shared = slices.Sorted(maps.Keys(c.shared))
	c.feed.Shared = c.feed.Shared[:min(len(c.feed.Shared), maxShared)]
	return out
}

// tell gives drafts that share a link a key each; copies of one story get the
// same. Different stories differ in both their key and their title: publishers
// put counters and tracking marks into the ids of one story.
func (c *collector) tell(members []int) (keys []string, stories int) {
	keys = make([]string, len(members))
	byKey, byTitle := map[string]bool{}, map[string]string{}
	for n, i := range members {
		d := c.drafts[i]
		key, title := ownKey(d), strings.ToLower(d.title)
		if same, ok := byTitle[title]; ok {
			key = same
		}
		if !byKey[key] {
			stories++
		}
		byKey[key], byTitle[title] = true, key
		keys[n] = key
	}
	return keys, stories
}

// counter is what some publishers add to the id of a story with each change.
var counter = regexp.MustCompile(`#\d+$`)

// ownKey is what a draft has beside its link: its id, the fragment of the link, or
// the title.
func ownKey(d draft) string {
	id := counter.ReplaceAllString(strings.TrimSpace(d.id), "")
	if clean, ok := CleanLink(id, nil); ok {
		_, fragment, _ := strings.Cut(id, "#")
		id = Canonical(clean) + "#" + fragment
	}
	switch {
	case id != "":
		return id
	case d.fragment != "":
		return "#" + counter.ReplaceAllString(d.fragment, "")
	}
	return strings.ToLower(d.title)
}
