package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/replicate"
	"carbond/replicate/schema"
	"carbond/store"
	"carbond/store/change"
)

func cmdDoctor(a *app) *cobra.Command {
	var (
		sql  bool
		form *client.Form
	)
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check that Postgres is ready for carbond, and print what repairs it",
		Long: "Connects to Postgres and checks wal_level, rights of the role, tables, replica identity,\n" +
			"publication, slot and free capacity, and compares slot, position, timeline and cluster with the\n" +
			"data directory, or asks the daemon that has it open. Prints the SQL or the advice that repairs\n" +
			"each problem. Changes nothing. Exit code 0 when replication can work, 1 when not.",
		Example: "  carbond doctor\n  carbond doctor --sql > role.sql",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := form.Check(); err != nil {
				return err
			}
			cfg, opt, err := loadDatabase(a)
			if errors.Is(err, errEmbedded) && !sql {
				_, err := fmt.Fprintln(a.out, "embedded mode: no Postgres is configured, nothing to check")
				return err
			}
			if err != nil {
				return err
			}
			if sql {
				_, err := io.WriteString(a.out, schema.RoleSQL(opt))
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			findings, err := schema.Preflight(ctx, opt)
			if f, ok := standing(a, ctx, cfg, opt); ok {
				findings = append(findings, f)
			}
			if bad := printFindings(a, findings, form); err == nil {
				err = bad
			}
			return err
		},
	}
	form = client.FormFlags(c, a.getenv)
	c.Flags().BoolVar(&sql, "sql", false, "print the SQL that makes a least-privilege role for carbond")
	return c
}

// standing compares what the data directory holds with the server: by asking the
// daemon that has it open, else as its start would.
func standing(a *app, ctx context.Context, cfg *config.Config, opt replicate.Options) (f schema.Finding, ok bool) {
	pos, err := store.ReadPosition(cfg.DataDir)
	switch {
	case errors.Is(err, store.ErrLocked):
		ready, ok := readyURL(a, cfg)
		if !ok {
			return schema.Finding{Name: "daemon", Warning: true, Detail: "a daemon has the data directory open, and its HTTP listener does not answer us", Advice: "carbond healthcheck"}, true
		}
		return askReasons(ctx, ready), true
	case err != nil:
		return schema.Finding{Name: "position", Warning: true, Detail: err.Error(), Advice: "carbond fsck"}, true
	case pos == change.Position{}:
		return f, false
	}
	return replicate.CheckPosition(ctx, opt, pos), true
}

// once leaves out lines that say what the one before said: a server is tried with TLS
// and without.
func once(s string) string {
	return strings.Join(slices.Compact(strings.Split(s, "\n")), "\n")
}

// printFindings prints one line for each check and the repair below it, or rows. It
// is errQuiet when a check failed.
func printFindings(a *app, findings []schema.Finding, form *client.Form) error {
	p, err := client.NewPrinter(a.out, form, client.Columns{Names: []string{"check", "result", "detail", "sql", "advice"}})
	if err != nil {
		return err
	}
	if form.Format == "table" {
		p = findingLines{a}
	}
	bad := 0
	for _, f := range findings {
		word := "ok"
		switch {
		case f.OK:
		case f.Warning:
			word = "warn"
		default:
			word = "FAIL"
			bad++
		}
		sql := make(client.Words, len(f.SQL))
		for i := range f.SQL {
			sql[i] = a.redact(f.SQL[i])
		}
		if err := p.Row([]any{f.Name, word, a.redact(once(f.Detail)), sql, a.redact(f.Advice)}); err != nil {
			return err
		}
	}
	if err := p.End(); err != nil {
		return err
	}
	table := form.Format == "table"
	if bad == 0 {
		if table && len(findings) > 0 {
			fmt.Fprintln(a.out, "\nreplication can work")
		}
		return nil
	}
	if table {
		fmt.Fprintf(a.out, "\n%s replication from working\n", count(bad, "problem keeps", "problems keep"))
	}
	return errQuiet
}

// findingLines prints checks for people. What is indented can be given to psql.
type findingLines struct{ *app }

// Row implements client.Printer.
func (f findingLines) Row(r []any) error {
	fmt.Fprintf(f.out, "%-4s  %-18s  %s\n", r[1], r[0], client.Lines(r[2].(string)))
	for _, sql := range r[3].(client.Words) {
		fmt.Fprintf(f.out, "      %s;\n", client.Lines(sql))
	}
	if advice := r[4].(string); advice != "" {
		fmt.Fprintf(f.out, "      -- %s\n", client.Plain(advice))
	}
	return nil
}

// End implements client.Printer.
func (findingLines) End() error { return nil }
