package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/client"
)

func cmdFeeds(a *app) *cobra.Command {
	var (
		h    *client.HTTP
		form *client.Form
	)
	c := &cobra.Command{
		Use:     "feeds",
		Short:   "List the feeds of the running daemon",
		Long:    "Lists the feeds as the daemon's HTTP listener reports them: state, last success, next poll, items, last error, notes.",
		Example: "  carbond feeds\n  carbond feeds --http-addr https://10.0.0.7:50080 --tls-ca ca.crt\n  carbond feeds fetch verra\n  carbond feeds poll news/Reuters",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := h.Status(cmd.Context())
			if err != nil {
				return err
			}
			return printFeeds(a, s, form)
		},
	}
	h = client.HTTPFlags(c)
	form = client.FormFlags(c, a.getenv)
	c.AddCommand(cmdFeedsFetch(a), cmdFeedsPoll(a))
	return c
}

func printFeeds(a *app, s admin.Status, form *client.Form) error {
	table := form.Format == "table"
	if table && s.Sample {
		fmt.Fprintln(a.out, "SAMPLE DATA")
	}
	if table && len(s.Feeds) == 0 {
		_, err := fmt.Fprintln(a.out, "no feed is enabled (feeds.enabled)")
		return err
	}
	p, err := client.NewPrinter(a.out, form, client.Columns{
		Names: []string{"feed", "state", "last_success", "next_due", "items", "last_error", "table", "failures", "notes", "advice"},
		Brief: []int{0, 1, 2, 3, 4, 5},
	})
	if err != nil {
		return err
	}
	for _, f := range s.Feeds {
		err := p.Row([]any{client.Key(f.Name), client.Key(f.State), client.Moment(f.LastSuccess), client.Moment(f.NextDue), f.Items, f.LastError, f.Table, f.Failures, client.Words(f.Notes), f.Advice})
		if err != nil {
			return err
		}
	}
	if err := p.End(); err != nil || !table {
		return err
	}
	for _, f := range s.Feeds {
		if f.Advice != "" {
			fmt.Fprintf(a.out, "advice: %s: %s\n", client.Plain(f.Name), client.Plain(f.Advice))
		}
		for _, n := range f.Notes {
			fmt.Fprintf(a.out, "note: %s: %s\n", client.Plain(f.Name), client.Plain(n))
		}
	}
	return nil
}
