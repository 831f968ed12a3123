// Package bench measures this build on this machine: the figures of the README.
// Where a yardstick exists (a bare server, a bare replication client) it runs in
// the same run, in turns, and the ratio is what to quote: absolute figures are
// those of the machine and of what else it does.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"carbond/rpc"
)

// Options say what to measure.
type Options struct {
	// Self is the carbond program that is started where a process is measured.
	Self string
	// Dir is a folder for data; it needs up to 4 GB for a million projects.
	Dir string
	// PostgresURL is a superuser's URL of a Postgres with wal_level=logical that
	// may be filled and restarted at will. Empty leaves out what needs one.
	PostgresURL string
	// Gzip is what the process has registered, nil for gRPC's own.
	Gzip *rpc.Gzip
	// Rows of the catch-up, 1,000,000 by default.
	Rows int
	// HugeRows are the rows of one large transaction, 5,000,000 by default.
	HugeRows int
	// Sizes are numbers of projects for memory and start; by default 5,000,
	// 100,000 and 1,000,000.
	Sizes []int
	// Seconds of each round of a rate, 2 by default.
	Seconds float64
	Log     *slog.Logger
}

// Figure is one result.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Goal is the figure of the design, "" when there is none.
	Goal string `json:"goal,omitempty"`
	Met  bool   `json:"met"`
	Note string `json:"note,omitempty"`
}

// Run measures everything, one thing after the other, and returns what it has
// even when something fails.
func Run(ctx context.Context, o Options) ([]Figure, error) {
	if o.Rows <= 0 {
		o.Rows = 1_000_000
	}
	if o.HugeRows <= 0 {
		o.HugeRows = 5_000_000
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int{5_000, 100_000, 1_000_000}
	}
	if o.Seconds <= 0 {
		o.Seconds = 2
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	parts := []struct {
		name string
		run  func(context.Context, Options) ([]Figure, error)
	}{
		{"cached replies", cached},
		{"memory and start", sizes},
		{"memory of watchers", watchers},
	}
	if o.PostgresURL != "" {
		parts = append(parts, []struct {
			name string
			run  func(context.Context, Options) ([]Figure, error)
		}{
			{"first copy and updates", beside},
			{"tables without a view", further},
			{"commit to visible", latency},
			{"catch-up", catchUp},
			{"a large transaction", huge},
		}...)
	}
	var all []Figure
	for _, p := range parts {
		o.Log.Info("measuring", "part", p.name)
		figures, err := p.run(ctx, o)
		all = append(all, figures...)
		if err != nil {
			return all, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return all, nil
}

// Table writes the figures for people.
func Table(w io.Writer, figures []Figure) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tMEASURED\tGOAL\t\tNOTE")
	for _, f := range figures {
		met := ""
		if f.Goal != "" {
			met = map[bool]string{true: "met", false: "missed"}[f.Met]
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, f.Goal, met, f.Note)
	}
	return t.Flush()
}

// JSON writes the figures for programs.
func JSON(w io.Writer, figures []Figure) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(figures)
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func atMost(name string, v float64, unit string, goal float64) Figure {
	return Figure{Name: name, Value: v, Unit: unit, Goal: fmt.Sprintf("<= %s", number(goal)), Met: v <= goal}
}

func atLeast(name string, v float64, unit string, goal float64) Figure {
	return Figure{Name: name, Value: v, Unit: unit, Goal: fmt.Sprintf(">= %s", number(goal)), Met: v >= goal}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
