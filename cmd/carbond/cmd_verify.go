package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/store/change"
)

func (a *app) cmdVerify() *cobra.Command {
	var (
		c     *client
		limit int
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the daemon's views with SQL in Postgres at the same LSN",
		Long: "Pins a moment of the database to an LSN, runs the SQL of the three views in it, and compares\n" +
			"every row with what the daemon's views were at exactly that LSN. Writers may go on meanwhile:\n" +
			"the comparison is exact. While the SQL runs, the tables are locked against TRUNCATE and ALTER.\n" +
			"Exit code 0 when everything is equal, 1 with the keys when not.",
		Example: "  carbond verify\n  carbond verify --addr 10.0.0.7:50051 --tls-ca ca.crt --token-file token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := a.postgres()
			if err != nil {
				return err
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), verifyTime)
			defer cancel()
			return a.verify(ctx, &verifier{client: c, api: pb.NewCarbonServiceClient(conn), opt: opt}, limit)
		},
	}
	c = addClientFlags(cmd)
	cmd.Flags().IntVar(&limit, "keys", 20, "print at most `N` differing keys of each view")
	return cmd
}

const (
	verifyTime = 10 * time.Minute
	// moments is how many moments are tried when retention passes each one
	// before the daemon was asked about it.
	moments = 3
)

// verifier compares the views of one daemon with one database.
type verifier struct {
	client *client
	api    pb.CarbonServiceClient
	opt    replicate.Options
}

// difference is one key whose rows are not equal; "" stands for no row.
type difference struct{ daemon, sql string }

// rowsByView are rows by key in a printable form, in which equal rows have
// equal texts.
type rowsByView map[change.View]map[string]string

func (a *app) verify(ctx context.Context, v *verifier, limit int) error {
	// History begins with the first copy: an earlier moment would be empty.
	if err := v.waitCopied(ctx); err != nil {
		return v.client.explain(err)
	}
	var (
		lsn       change.LSN
		want, got rowsByView
		err       error
	)
	for attempt := 1; ; attempt++ {
		if lsn, want, err = v.inSQL(ctx); err != nil {
			return err
		}
		got, err = v.inDaemon(ctx, lsn)
		if err == nil {
			break
		}
		if !isGone(err) || attempt == moments {
			return v.client.explain(err)
		}
	}
	differ := 0
	for _, view := range change.Views() {
		diff := compareRows(got[view], want[view])
		differ += len(diff)
		a.printDifferences(view, diff, limit)
	}
	fmt.Fprintf(a.out, "at LSN %s: %d projects, %d news, %d finance rows in SQL, %d keys differ\n",
		lsn, len(want[change.ViewProjects]), len(want[change.ViewNews]), len(want[change.ViewFinance]), differ)
	if differ > 0 {
		return errQuiet
	}
	_, err = fmt.Fprintln(a.out, "equal")
	return err
}

func (a *app) printDifferences(view change.View, diff map[string]difference, limit int) {
	for i, key := range slices.Sorted(maps.Keys(diff)) {
		if i == limit {
			fmt.Fprintf(a.out, "%s: ... and %d more\n", view, len(diff)-limit)
			return
		}
		d := diff[key]
		fmt.Fprintf(a.out, "%s %s\n  daemon: %s\n  sql:    %s\n", view, plain(key), shown(d.daemon), shown(d.sql))
	}
}

func shown(row string) string {
	if row == "" {
		return "(no row)"
	}
	return plain(row)
}

// inSQL runs the SQL of the views in one moment of the database and says which.
// The locks of that moment end with the call.
func (v *verifier) inSQL(ctx context.Context) (lsn change.LSN, rows rowsByView, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	snap, err := replicate.ExportSnapshot(ctx, v.opt)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, snap.Close(ctx)) }()
	rows = rowsByView{}
	for _, view := range change.Views() {
		if rows[view], err = sqlRows(ctx, snap, view); err != nil {
			return 0, nil, fmt.Errorf("run the SQL of view %s: %w", view, err)
		}
	}
	return snap.LSN, rows, nil
}

// inDaemon fetches the views as they were at lsn.
func (v *verifier) inDaemon(ctx context.Context, lsn change.LSN) (rowsByView, error) {
	rows := rowsByView{}
	for _, view := range change.Views() {
		var err error
		if rows[view], err = v.daemonRows(ctx, view, lsn); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func compareRows(daemon, sql map[string]string) map[string]difference {
	out := map[string]difference{}
	for key, row := range sql {
		if daemon[key] != row {
			out[key] = difference{daemon[key], row}
		}
	}
	for key, row := range daemon {
		if _, ok := sql[key]; !ok {
			out[key] = difference{row, ""}
		}
	}
	return out
}
