package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/bench"
	"carbond/cmd/carbond/internal/client"
)

func cmdBench(a *app) *cobra.Command {
	var (
		opt    bench.Options
		form   *client.Form
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this build on this machine, as ratios where there is something to compare with",
		Long: "Measures cached replies beside a bare gRPC server, memory and the time to start with different\n" +
			"numbers of projects. With --postgres-url it also measures the first copy beside COPY, the cost of an\n" +
			"update, the time from commit to answer and the catch-up rate, beside bare replication clients: the\n" +
			"database is emptied and filled for that, so give it one of its own.",
		Example: "  carbond bench\n  carbond bench --sizes 5000,100000 --json\n  carbond bench --postgres-url postgres://postgres@127.0.0.1:54329/bench",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				form.Format = "json"
			}
			if err := form.Check(); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			dir, err := os.MkdirTemp(opt.Dir, "carbond-bench-")
			if err != nil {
				return fmt.Errorf("make a folder for the data: %w", err)
			}
			defer os.RemoveAll(dir)
			opt.Self, opt.Dir, opt.Gzip = self, dir, a.gzip
			opt.Log = slog.New(slog.NewTextHandler(a.err, nil))
			figures, err := bench.Run(cmd.Context(), opt)
			return errors.Join(err, printFigures(a, figures, form))
		},
	}
	f := c.Flags()
	f.StringVar(&opt.PostgresURL, "postgres-url", "", "`URL` of a Postgres that may be emptied and filled (superuser, wal_level=logical)")
	f.IntVar(&opt.Rows, "rows", 1_000_000, "`ROWS` of the catch-up")
	f.IntVar(&opt.HugeRows, "huge-rows", 5_000_000, "`ROWS` of one large transaction")
	f.IntSliceVar(&opt.Sizes, "sizes", []int{5_000, 100_000, 1_000_000}, "`NUMBERS` of projects for memory and start")
	f.Float64Var(&opt.Seconds, "seconds", 2, "`SECONDS` of each round of a rate")
	f.StringVar(&opt.Dir, "dir", "", "`FOLDER` for data, up to 4 GB; default the system's temporary folder")
	f.BoolVar(&asJSON, "json", false, "print JSON, as --format json")
	form = client.FormFlags(c, a.getenv)
	return c
}

// printFigures prints figures, each with its unit in a table.
func printFigures(a *app, figures []bench.Figure, form *client.Form) error {
	switch form.Format {
	case "json":
		return bench.JSON(a.out, figures)
	case "table":
		fmt.Fprintf(a.out, "carbond %s, %s, %d processors\n\n", version, runtime.Version(), runtime.NumCPU())
		return bench.Table(a.out, figures)
	}
	p, err := client.NewPrinter(a.out, form, client.Columns{Names: []string{"name", "value", "unit", "goal", "met", "note"}})
	if err != nil {
		return err
	}
	for _, f := range figures {
		if err := p.Row([]any{f.Name, f.Value, f.Unit, f.Goal, f.Met, f.Note}); err != nil {
			return err
		}
	}
	return p.End()
}
