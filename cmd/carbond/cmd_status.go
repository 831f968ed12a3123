package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/client"
)

// refresh is how often status --watch looks again.
const refresh = 2 * time.Second

func cmdStatus(a *app) *cobra.Command {
	var (
		h     *client.HTTP
		s     = screen{app: a, form: &client.Form{Format: "table", Getenv: a.getenv}}
		watch bool
	)
	c := &cobra.Command{
		Use:   "status",
		Short: "Show on one screen how the running daemon is",
		Long: "Shows on one screen whether the daemon is ready and why, how fresh its data is, the lag, views,\n" +
			"feeds, consumer groups and the disk, as its HTTP listener reports them. --watch looks again every\n" +
			"two seconds until Ctrl-C. --format json prints /status.json. Exit code 0 when the daemon is ready,\n" +
			"1 when it is not or does not answer.",
		Example: "  carbond status\n  carbond status --watch\n  carbond status --format json | jq .readiness",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f := s.form.Format; f != "table" && f != "json" {
				return client.Usage(fmt.Errorf("unknown format %q: want table or json", f))
			}
			if watch {
				return s.watch(cmd.Context(), h)
			}
			got, err := h.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := s.print(got); err != nil {
				return err
			}
			if !got.Ready {
				return errQuiet
			}
			return nil
		},
	}
	h = client.HTTPFlags(c)
	c.Flags().StringVarP(&s.form.Format, "format", "f", "table", "`FORM`: table or json")
	c.Flags().BoolVar(&s.form.UTC, "utc", false, "print times in UTC")
	c.Flags().BoolVar(&watch, "watch", false, "look again every two seconds")
	client.Complete(c, "format", "table", "json")
	return c
}

// screen shows a status.
type screen struct {
	*app
	form *client.Form
}

// watch shows the status again and again until a signal, also while the daemon is
// away.
func (s screen) watch(ctx context.Context, h *client.HTTP) error {
	for {
		got, err := h.Status(ctx)
		if ctx.Err() != nil {
			return nil // a signal is how it ends
		}
		if client.Terminal(s.out) {
			fmt.Fprint(client.Bare(s.out), "\x1b[H\x1b[2J")
		}
		if err != nil {
			_, err = fmt.Fprintf(s.out, "%s  %s\n", s.word("NO ANSWER", red), s.printable(err.Error()))
		} else {
			err = s.print(got)
		}
		if err != nil {
			return client.Output(err)
		}
		if !client.Pause(ctx, refresh) {
			return nil
		}
	}
}

func (s screen) print(st admin.Status) error {
	if s.form.Format == "json" {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(st)
	}
	s.head(st)
	for _, c := range st.Checks {
		if c.Reason == "" || c.OK && !c.Warning {
			continue
		}
		word := s.word("FAIL", red)
		if c.OK {
			word = s.word("WARN", yellow)
		}
		s.say("%s  %s: %s", word, c.Name, client.Plain(c.Reason))
		if c.Remedy != "" {
			s.say("      %s", client.Plain(c.Remedy))
		}
	}
	rows := make([][]any, len(st.Views))
	for i, v := range st.Views {
		rows[i] = []any{client.Key(v.Name), v.Rows, client.Moment(v.ChangedAt)}
	}
	if err := s.table([]string{"view", "rows", "changed"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, f := range st.Feeds {
		rows = append(rows, []any{client.Key(f.Name), client.Key(f.State), client.Moment(f.LastSuccess), f.Items, f.LastError})
	}
	if err := s.table([]string{"feed", "state", "last_success", "items", "last_error"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, g := range st.Groups {
		for _, t := range g.Topics {
			rows = append(rows, []any{client.Key(g.Name), client.Key(t.Topic), t.Lag, t.LagSeconds, g.Active})
		}
	}
	if err := s.table([]string{"group", "topic", "lag", "lag_seconds", "member"}, rows); err != nil {
		return err
	}
	if st.GroupsLeft > 0 {
		s.say("and %d groups more: carbond groups", st.GroupsLeft)
	}
	return nil
}

// head is what one wants to know first.
func (s screen) head(st admin.Status) {
	state := s.word("READY", green)
	switch {
	case !st.Ready:
		state = s.word("NOT READY", red)
	case st.Starved():
		state = s.word("READY, BUT MOST SOURCES HAVE NEVER WORKED", red)
	}
	reason := ""
	if st.Reason != "" {
		reason = "  " + client.Plain(st.Reason)
	}
	s.say("%s%s", state, reason)
	sample := ""
	if st.Sample {
		sample = ", SAMPLE DATA"
	}
	s.say("carbond   %s, %s mode%s, up %s", client.Plain(st.Version.Version), client.Plain(st.Mode), sample, span(st.UptimeSec))
	s.say("data      %s old, offset %d%s, %s in %s", span(st.Fresh.AgeSec), st.Position.Offset, lsnOf(st.Position), client.Bytes(st.Data.Bytes), client.Plain(st.Data.Dir))
	if r := st.Replication; r != nil {
		s.say("postgres  %s, lag %s and %s", client.Plain(r.State), client.Bytes(int64(r.LagBytes)), span(r.LagSeconds))
	}
	s.say("listens   gRPC %s, HTTP %s", client.Plain(st.Listen.GRPC), client.Plain(st.Listen.HTTP))
}

func lsnOf(p admin.Position) string {
	if p.LSN == "" {
		return ""
	}
	return ", LSN " + client.Plain(p.LSN)
}

// span prints seconds in the unit that people use.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// say prints a line in which nothing but words with colours of our own is coloured.
func (s screen) say(format string, args ...any) {
	fmt.Fprintf(client.Bare(s.out), format+"\n", args...)
}

// table prints a table below an empty line, and nothing without rows.
func (s screen) table(names []string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	s.say("")
	p, err := client.NewPrinter(s.out, s.form, client.Columns{Names: names})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := p.Row(r); err != nil {
			return err
		}
	}
	return p.End()
}

// Colours of words, as a terminal has them.
const (
	red    = 31
	green  = 32
	yellow = 33
)

// word is a word in a colour, where that is wanted.
func (s screen) word(text string, colour int) string {
	if !client.Colour(s.out, s.getenv) {
		return text
	}
	return fmt.Sprintf("\x1b[1;%dm%s\x1b[0m", colour, text)
}
