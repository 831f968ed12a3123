package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
	"carbond/feeds"
	"carbond/feeds/postgres"
	pb "carbond/proto/carbon"
	"carbond/store"
	"carbond/store/change"
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

func cmdFeedsFetch(a *app) *cobra.Command {
	rows := 20
	c := &cobra.Command{
		Use:   "fetch NAME",
		Short: "Poll one feed now and print what it would change; writes nothing",
		Long: "Polls a feed now, in this process and with the configuration, and prints what the poll\n" +
			"would change. Nothing is written, not even the feed's own memory. In embedded mode the\n" +
			"comparison needs the data directory, which a running daemon holds: without it every row counts as new.",
		Example: "  carbond feeds fetch verra\n  carbond feeds fetch news",
		Args:    oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load(overridden(cmd.Flags()))
			if err != nil {
				return err
			}
			return fetchFeed(a, cmd.Context(), cfg, args[0], rows)
		},
	}
	c.Flags().IntVar(&rows, "rows", rows, "print at most `N` rows of each table")
	addOverrides(c.Flags(), "data-dir")
	c.ValidArgsFunction = completeFeeds(a, &client.HTTP{Addr: "127.0.0.1:50080"})
	return c
}

func cmdFeedsPoll(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:   "poll NAME",
		Short: "Have the running daemon poll one feed now",
		Long: "Makes the running daemon poll a feed now, whether it is due or not, and prints what the poll changed.\n" +
			"news stands for all news feeds. The call needs the scope admin. Exit code 1 when the poll failed.",
		Example: "  carbond feeds poll verra\n  carbond feeds poll news/reuters --token-file admin.token",
		Args:    oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewAdminServiceClient(conn).PollFeed(cmd.Context(), &pb.PollFeedRequest{Feed: args[0]})
			if err != nil {
				return c.Explain(err)
			}
			rep := feeds.Report{
				Feed: args[0], Items: int(r.GetItems()), Requests: int(r.GetRequests()), Duration: time.Duration(r.GetDurationMs()) * time.Millisecond,
				Written: change.Written{Inserted: int(r.GetInserted()), Updated: int(r.GetUpdated()), Deleted: int(r.GetDeleted()), Unchanged: int(r.GetUnchanged())},
				LeftOut: r.GetLeftOut(), Notes: r.GetNotes(),
			}
			if r.GetNotModified() {
				rep.Upstream = "not modified"
			}
			printPoll(a, rep, "inserted %d, updated %d, deleted %d; %d are unchanged\n")
			if r.GetError() != "" {
				return errors.New(r.GetError())
			}
			return nil
		},
	}
	c = client.Flags(cmd, version)
	cmd.ValidArgsFunction = completeFeeds(a, &client.HTTP{Addr: "127.0.0.1:50080"})
	return cmd
}

func fetchFeed(a *app, ctx context.Context, cfg *config.Config, name string, rows int) error {
	w, note, done, err := previewWriter(ctx, cfg)
	if err != nil {
		return err
	}
	defer done()
	if note != "" {
		fmt.Fprintln(a.err, "note: "+note)
	}
	opt := daemon.FeedOptions(cfg, version)
	opt.Log, _ = a.logger(cfg)
	r, err := feeds.New(opt, w)
	if err != nil {
		return err
	}
	rep, err := r.Fetch(ctx, name, true)
	if errors.Is(err, feeds.ErrUnknownFeed) {
		return client.Usage(err)
	}
	printPoll(a, rep, "would insert %d, update %d, delete %d; %d are unchanged\n")
	for _, e := range rep.Edits {
		fmt.Fprintf(a.out, "\n%s: %s\n", e.Table, strings.Join(e.Columns, ", "))
		printRows(a, "  ", e.Rows, rows)
		if len(e.Delete) > 0 {
			fmt.Fprintf(a.out, "%s, gone: %s\n", e.Table, strings.Join(change.KeyColumns(e.Table), ", "))
			printRows(a, "  ", e.Delete, rows)
		}
	}
	if advice := feeds.Advice(err); advice != "" {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}

// printPoll prints what a poll found, and with the format what was written of it.
func printPoll(a *app, r feeds.Report, written string) {
	fmt.Fprintf(a.out, "%s: %d items in %d requests, %s\n", client.Plain(r.Feed), r.Items, r.Requests, r.Duration.Round(time.Millisecond))
	if r.Upstream != "" {
		fmt.Fprintf(a.out, "upstream: %s\n", r.Upstream)
	}
	fmt.Fprintf(a.out, written, r.Written.Inserted, r.Written.Updated, r.Written.Deleted, r.Written.Unchanged)
	for _, left := range r.LeftOut {
		fmt.Fprintln(a.out, "left out of "+client.Plain(left))
	}
	for _, n := range r.Notes {
		fmt.Fprintln(a.out, "note: "+client.Plain(n))
	}
}

func printRows(a *app, indent string, list []change.Row, limit int) {
	for i, r := range list {
		if i == limit {
			fmt.Fprintf(a.out, "%s... and %d more\n", indent, len(list)-limit)
			return
		}
		var cells []string
		for _, v := range r.All() {
			text := "NULL"
			if v.Kind == change.Text {
				text = client.Plain(v.Text)
			}
			cells = append(cells, text)
		}
		fmt.Fprintln(a.out, indent+strings.Join(cells, " | "))
	}
}

// previewWriter returns what a dry run compares with, and a note when that is
// nothing.
func previewWriter(ctx context.Context, cfg *config.Config) (w feeds.Writer, note string, done func(), err error) {
	done = func() {}
	if !cfg.Embedded() {
		pool, err := daemon.OpenPool(ctx, cfg)
		if err != nil {
			return nil, "", done, err
		}
		return postgres.New(pool), "", pool.Close, nil
	}
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return nothing{}, cfg.DataDir + " does not exist yet: every row counts as new", done, nil
	}
	s, err := store.Open(cfg.DataDir, daemon.StoreOptions(cfg))
	if errors.Is(err, store.ErrLocked) {
		return nothing{}, "a daemon holds " + cfg.DataDir + ": every row counts as new", done, nil
	}
	if err != nil {
		return nil, "", done, daemon.ExplainOpen(cfg.DataDir, err)
	}
	return s, "", func() { _ = s.Close() }, nil
}

// nothing is a Writer over empty tables that refuses to write.
type nothing struct{}

var errPreviewOnly = errors.New("a dry run writes nothing")

func (nothing) Write(context.Context, []change.Edit) (change.Written, error) {
	return change.Written{}, errPreviewOnly
}

func (nothing) Preview(_ context.Context, edits []change.Edit) (all []change.Edit, n change.Written, err error) {
	for _, e := range edits {
		n.Inserted += len(e.Rows)
	}
	return edits, n, nil
}

func (nothing) Prune(context.Context, string, time.Time) (int, error) { return 0, errPreviewOnly }

func (nothing) Rows(context.Context, string, []string) ([]change.Row, error) { return nil, nil }
