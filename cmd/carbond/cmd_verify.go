package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

func cmdVerify(a *app) *cobra.Command {
	var (
		c     *client.Client
		limit int
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the daemon's views with SQL in Postgres at the same LSN",
		Long: "Pins a moment of the database to an LSN, runs the SQL of the three views, the vintages and the totals in it,\n" +
			"and compares every row and total with what the daemon's views were at exactly that LSN. Writers may go on meanwhile:\n" +
			"the comparison is exact. While the SQL runs, the tables are locked against TRUNCATE and ALTER.\n" +
			"Exit code 0 when everything is equal, 1 with the keys when not.",
		Example: "  carbond verify\n  carbond verify --addr 10.0.0.7:50051 --tls-ca ca.crt --token-file token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := loadDatabase(a)
			if err != nil {
				return err
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), verifyTime)
			defer cancel()
			return verify(a, ctx, &verifier{client: c, api: pb.NewCarbonServiceClient(conn), opt: opt}, limit)
		},
	}
	c = client.Flags(cmd, version)
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
	client *client.Client
	api    pb.CarbonServiceClient
	opt    replicate.Options
}

// difference is one key whose rows are not equal; "" stands for no row.
type difference struct{ daemon, sql string }

// rowsByView are rows by key in a printable form, in which equal rows have
// equal texts.
type rowsByView map[change.View]map[string]string

// verified are the views, and what is compared as one beside them.
func verified() []change.View { return append(change.Views(), viewVintages) }

// viewVintages are the supplies by vintage that come with the projects.
const viewVintages change.View = "vintages"

// comparison is the outcome of comparing views with SQL at an LSN.
type comparison struct {
	lsn    change.LSN
	rows   map[change.View]int // in SQL
	differ map[change.View]map[string]difference
	// totals are the differing groups by the column that they are by.
	totals map[string]map[string]difference
	keys   int // that differ
	groups int // whose totals differ
}

// String is the comparison in one line.
func (c comparison) String() string {
	s := fmt.Sprintf("at LSN %s: %d projects, %d news, %d finance rows in SQL", c.lsn, c.rows[change.ViewProjects], c.rows[change.ViewNews], c.rows[change.ViewFinance])
	if n := c.rows[viewVintages]; n > 0 {
		s += fmt.Sprintf(" and %d vintages", n)
	}
	s += fmt.Sprintf(", %d keys differ", c.keys)
	if c.groups > 0 {
		s += fmt.Sprintf(", %d totals differ", c.groups)
	}
	return s
}

// compare compares every view with its SQL.
func (v *verifier) compare(ctx context.Context) (c comparison, err error) {
	// History begins with the first copy: an earlier moment would be empty.
	if err := v.waitCopied(ctx); err != nil {
		return c, v.client.Explain(err)
	}
	var want, got rowsByView
	var sums map[string]map[string]groupTotal
	for attempt := 1; ; attempt++ {
		if c.lsn, want, sums, err = v.inSQL(ctx); err != nil {
			return c, err
		}
		if got, err = v.inDaemon(ctx, c.lsn); err == nil {
			break
		}
		if client.Reason(err) != rpcerr.ReasonCompacted || attempt == moments {
			return c, v.client.Explain(err)
		}
	}
	c.rows, c.differ = map[change.View]int{}, map[change.View]map[string]difference{}
	for _, view := range verified() {
		c.rows[view] = len(want[view])
		c.differ[view] = compareRows(got[view], want[view])
		c.keys += len(c.differ[view])
	}
	c.totals = map[string]map[string]difference{}
	for by, want := range sums {
		got, err := v.totalsInDaemon(ctx, c.lsn, by)
		if err != nil {
			return c, v.client.Explain(err)
		}
		c.totals[by] = compareTotals(got, want)
		c.groups += len(c.totals[by])
	}
	return c, nil
}

func verify(a *app, ctx context.Context, v *verifier, limit int) error {
	c, err := v.compare(ctx)
	if err != nil {
		return err
	}
	for _, view := range verified() {
		printDifferences(a, string(view), c.differ[view], limit)
	}
	for _, by := range slices.Sorted(maps.Keys(c.totals)) {
		printDifferences(a, "totals by "+cmp.Or(by, "nothing"), c.totals[by], limit)
	}
	fmt.Fprintln(a.out, c)
	if c.keys+c.groups > 0 {
		return errQuiet
	}
	_, err = fmt.Fprintln(a.out, "equal")
	return err
}

func printDifferences(a *app, view string, diff map[string]difference, limit int) {
	for i, key := range slices.Sorted(maps.Keys(diff)) {
		if i == limit {
			fmt.Fprintf(a.out, "%s: ... and %d more\n", view, len(diff)-limit)
			return
		}
		d := diff[key]
		fmt.Fprintf(a.out, "%s %s\n  daemon: %s\n  sql:    %s\n", view, client.Plain(key), shown(d.daemon), shown(d.sql))
	}
}

func shown(row string) string {
	if row == "" {
		return "(no row)"
	}
	return client.Plain(row)
}

// inSQL runs the SQL of the views in one moment of the database and says which.
// The locks of that moment end with the call.
func (v *verifier) inSQL(ctx context.Context) (lsn change.LSN, rows rowsByView, sums map[string]map[string]groupTotal, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	snap, err := replicate.ExportSnapshot(ctx, v.opt)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { err = errors.Join(err, snap.Close(ctx)) }()
	rows = rowsByView{}
	for _, view := range change.Views() {
		if rows[view], err = sqlRows(ctx, snap, view.Def()); err != nil {
			return 0, nil, nil, fmt.Errorf("run the SQL of view %s: %w", view, err)
		}
	}
	if rows[viewVintages], err = v.sqlVintages(ctx, snap); err != nil {
		return 0, nil, nil, fmt.Errorf("run the SQL of the vintages: %w", err)
	}
	sums, err = totalsInSQL(ctx, snap)
	return snap.LSN, rows, sums, err
}

// inDaemon fetches the views as they were at lsn.
func (v *verifier) inDaemon(ctx context.Context, lsn change.LSN) (rowsByView, error) {
	rows := rowsByView{}
	for _, view := range change.Views() {
		var err error
		if rows[view], err = v.daemonRows(ctx, view.Def(), lsn); err != nil {
			return nil, err
		}
	}
	var err error
	rows[viewVintages], err = v.daemonVintages(ctx, lsn, rows[change.ViewProjects])
	return rows, err
}

// sqlVintages are the vintages in the database by project and vintage, where it has the table.
func (v *verifier) sqlVintages(ctx context.Context, s *replicate.Exported) (map[string]string, error) {
	out := map[string]string{}
	schema := v.opt.WithDefaults().Schema
	if there, err := s.Has(ctx, schema, change.Vintages); err != nil || !there {
		return out, err
	}
	rows, err := s.Query(ctx, rpc.VintagesSQL(schema))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, err
		}
		if id := values[0].(string); id != "" { // which cannot be asked for
			addVintage(out, id, values[1:])
		}
	}
	return out, rows.Err()
}

// addVintage adds a row of change.VintageSupplies.
func addVintage(out map[string]string, project string, values []any) {
	text := make([]string, len(values)-1)
	for i, v := range values[1:] {
		text[i] = exact(v)
	}
	out[fmt.Sprintf("%s %d", project, values[0])] = strings.Join(text, " ")
}

// daemonVintages asks for each project as of the offset that lsn means: the daemon keeps
// that version, where each look for an LSN would read the log.
func (v *verifier) daemonVintages(ctx context.Context, lsn change.LSN, projects map[string]string) (map[string]string, error) {
	var head metadata.MD
	_, err := v.api.GetFinanceData(metadata.AppendToOutgoingContext(ctx, rpc.HeaderAtLSN, lsn.String()), &pb.FinanceQuery{PageSize: 1}, grpc.Header(&head))
	if err != nil {
		return nil, err
	}
	at, err := strconv.ParseUint(strings.Join(head.Get(rpc.HeaderOffset), ""), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read the reply header %s: %w", rpc.HeaderOffset, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ids := make(chan string)
	out := map[string]string{}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range ids {
				r, err := v.api.GetProjectDetail(ctx, &pb.ProjectDetailQuery{ProjectId: id, AsOfOffset: at})
				if err != nil {
					cancel(err)
				}
				mu.Lock()
				for _, x := range r.GetProject().GetVintages() {
					addVintage(out, id, []any{x.Vintage, number(x.Issued), number(x.Retired), number(x.Cancelled), number(x.Available)})
				}
				mu.Unlock()
			}
		})
	}
	for id := range projects {
		if ctx.Err() != nil {
			break
		}
		if id != "" {
			ids <- id
		}
	}
	close(ids)
	wg.Wait()
	return out, context.Cause(ctx)
}

// number is a value that may be absent, as a row of SQL has it.
func number(p *float64) any {
	if p == nil {
		return nil
	}
	return *p
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

// sqlRows runs the defining query of a view inside the snapshot. Rows are by
// key, in a printable form in which equal rows have equal texts.
func sqlRows(ctx context.Context, s *replicate.Exported, view *change.ViewDef) (map[string]string, error) {
	rows, err := s.Query(ctx, rpc.ViewSQL(view), "")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, err
		}
		addRow(out, view, values)
	}
	return out, rows.Err()
}

// addRow adds a row by its key. Where the order of rows is part of the view, they
// carry their rank.
func addRow(out map[string]string, view *change.ViewDef, values []any) {
	key, text := "", make([]string, 0, len(values))
	if view.Limit > 0 {
		text = append(text, fmt.Sprintf("#%d", len(out)+1))
	}
	for i, v := range values {
		switch s, ok := v.(string); {
		case view.Fields[i].Name == view.Key:
			key = s
		case ok:
			text = append(text, strconv.Quote(s))
		default:
			text = append(text, exact(v))
		}
	}
	out[key] = strings.Join(text, " ")
}

// exact prints a number with the shortest text that reads back as the same one.
func exact(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// verifyPage is the number of rows asked for at once: the daemon keeps the
// version for the pages that follow.
const verifyPage = 10_000

// daemonRows fetches a whole view as it was at lsn.
func (v *verifier) daemonRows(ctx context.Context, view *change.ViewDef, lsn change.LSN) (map[string]string, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeaderAtLSN, lsn.String())
	out := map[string]string{}
	for token := ""; ; {
		next := ""
		err := patiently(ctx, func(ctx context.Context) (err error) {
			next, err = v.page(ctx, view, token, out)
			return err
		})
		if token = next; err != nil || token == "" {
			return out, err
		}
	}
}

// page adds one page of a view to out and returns the token of the next one.
func (v *verifier) page(ctx context.Context, view *change.ViewDef, token string, out map[string]string) (string, error) {
	rows, next, err := client.ViewPage(ctx, v.api, view, client.ViewQuery{Size: verifyPage, Token: token})
	for _, r := range rows {
		addRow(out, view, r)
	}
	return next, err
}

// waitCopied waits for the first copy, which gives the first position.
func (v *verifier) waitCopied(ctx context.Context) error {
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeaderMinLSN, change.LSN(1).String())
	return patiently(ctx, func(ctx context.Context) error {
		_, err := v.api.GetFinanceData(ctx, &pb.FinanceQuery{PageSize: 1})
		return err
	})
}

// patiently calls again while the daemon has not reached a position, for as
// long as a command waits for Postgres.
func patiently(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	for {
		err := call(ctx)
		if client.Reason(err) != rpcerr.ReasonMinLSN || ctx.Err() != nil {
			return err
		}
		if d, ok := ctx.Deadline(); ok && time.Until(d) < time.Second {
			return err
		}
	}
}
