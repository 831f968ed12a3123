package replicate

import (
	"math"
	"testing"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// Two promotions may both end on timeline 2: where each began tells them apart.
func TestSharedHistory(t *testing.T) {
	const all = math.MaxUint64
	at := func(history string, n int32) note.Timeline {
		return note.Timeline{SystemID: "7", Timeline: n, Before: parseHistory([]byte(history))}
	}
	for name, tt := range map[string]struct {
		was, now note.Timeline
		want     change.LSN
	}{
		"the same first":               {at("", 1), at("", 1), all},
		"the same second":              {at("1\t0/100\tno recovery target specified\n", 2), at("1\t0/100\tno recovery target specified\n", 2), all},
		"promoted":                     {at("", 1), at("1\t0/100\tx\n", 2), 0x100},
		"promoted twice":               {at("", 1), at("1\t0/100\tx\n2\t0/200\tx\n", 3), 0x100},
		"promoted again":               {at("1\t0/100\tx\n", 2), at("1\t0/100\tx\n2\t0/200\tx\n", 3), 0x200},
		"two promotions, now earlier":  {at("1\t0/100\tx\n", 2), at("1\t0/80\tx\n", 2), 0x80},
		"two promotions, now later":    {at("1\t0/100\tx\n", 2), at("1\t0/180\tx\n", 2), 0x100},
		"another third":                {at("1\t0/100\tx\n2\t0/200\tx\n", 3), at("1\t0/100\tx\n", 4), 0x100},
		"back on the first":            {at("1\t0/100\tx\n", 2), at("", 1), 0x100},
		"the number alone, the same":   {at("", 2), at("1\t0/100\tx\n", 2), all},
		"the number alone, promoted":   {at("", 2), at("1\t0/100\tx\n2\t0/200\tx\n", 3), 0x200},
		"the number alone, left early": {at("", 3), at("1\t0/100\tx\n", 4), 0x100},
		"a comment in the history":     {at("", 1), at("# restored\n1\t0/100\tbefore 2000-01-01 00:00:00+00\n\n", 2), 0x100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shared(tt.was, tt.now); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
