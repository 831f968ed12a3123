package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
	"carbond/replicate"
	"carbond/replicate/schema"
	"carbond/store"
	"carbond/store/change"
)

func cmdDoctor(a *app) *cobra.Command {
	var sql bool
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
			if bad := printFindings(a, findings); err == nil && bad > 0 {
				return errQuiet
			}
			return err
		},
	}
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

// printFindings prints one line for each check and the repair below it, and
// returns how many checks failed.
func printFindings(a *app, findings []schema.Finding) (bad int) {
	for _, f := range findings {
		word := "ok  "
		switch {
		case f.OK:
		case f.Warning:
			word = "warn"
		default:
			word = "FAIL"
			bad++
		}
		fmt.Fprintf(a.out, "%s  %-18s  %s\n", word, f.Name, a.printable(once(f.Detail)))
		for _, sql := range f.SQL {
			fmt.Fprintf(a.out, "      %s;\n", a.redact(sql))
		}
		if f.Advice != "" {
			// A comment, so that all that is indented can be given to psql.
			fmt.Fprintf(a.out, "      -- %s\n", a.redact(f.Advice))
		}
	}
	switch {
	case bad > 0:
		fmt.Fprintf(a.out, "\n%s replication from working\n", count(bad, "problem keeps", "problems keep"))
	case len(findings) > 0:
		fmt.Fprintln(a.out, "\nreplication can work")
	}
	return bad
}
