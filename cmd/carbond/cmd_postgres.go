package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
	"carbond/replicate"
	"carbond/store"
	"carbond/store/change"
)

// errEmbedded is the answer of commands that need a database.
var errEmbedded error = noDatabase{}

// noDatabase is a fault of the configuration, as far as these commands go.
type noDatabase struct{}

// Error implements error.
func (noDatabase) Error() string {
	return "postgres.url is empty: this is embedded mode, there is no database to work on (set CARBOND_POSTGRES_URL or postgres.url)"
}

// Unwrap makes the exit code that of an invalid configuration.
func (noDatabase) Unwrap() error { return config.ErrInvalid }

// postgresTime bounds a command against a server that does not answer.
const postgresTime = 2 * time.Minute

// postgres loads the configuration of a command that needs a database.
func (a *app) postgres() (*config.Config, replicate.Options, error) {
	cfg, err := a.load(nil)
	if err != nil {
		return nil, replicate.Options{}, err
	}
	if cfg.Embedded() {
		return cfg, replicate.Options{}, errEmbedded
	}
	if wrong := checkURLs(cfg); wrong != nil {
		return cfg, replicate.Options{}, wrong
	}
	opt := replicateOptions(cfg)
	opt.Logger, _ = a.logger(cfg)
	return cfg, opt, nil
}

func (a *app) cmdDoctor() *cobra.Command {
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
			cfg, opt, err := a.postgres()
			if errors.Is(err, errEmbedded) && !sql {
				_, err := fmt.Fprintln(a.out, "embedded mode: no Postgres is configured, nothing to check")
				return err
			}
			if err != nil {
				return err
			}
			if sql {
				_, err := io.WriteString(a.out, replicate.RoleSQL(opt))
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			findings, err := replicate.Preflight(ctx, opt)
			if f, ok := a.standing(ctx, cfg, opt); ok {
				findings = append(findings, f)
			}
			if bad := a.printFindings(findings); err == nil && bad > 0 {
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
func (a *app) standing(ctx context.Context, cfg *config.Config, opt replicate.Options) (f replicate.Finding, ok bool) {
	pos, err := store.Standing(cfg.DataDir)
	switch {
	case errors.Is(err, store.ErrLocked):
		ready, ok := a.readyURL(cfg)
		if !ok {
			return replicate.Finding{Name: "daemon", Warning: true, Detail: "a daemon has the data directory open, and its HTTP listener does not answer us", Advice: "carbond healthcheck"}, true
		}
		return askReasons(ctx, ready), true
	case err != nil:
		return replicate.Finding{Name: "position", Warning: true, Detail: err.Error(), Advice: "carbond fsck"}, true
	case pos == change.Position{}:
		return f, false
	}
	opt.SourcePath = sourcePath(cfg)
	return replicate.Standing(ctx, opt, pos), true
}

// printFindings prints one line for each check and the repair below it, and
// returns how many checks failed.
func (a *app) printFindings(findings []replicate.Finding) (bad int) {
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
		fmt.Fprintf(a.out, "%s  %-18s  %s\n", word, f.Name, a.redact(f.Detail))
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
		fmt.Fprintf(a.out, "\n%d problems keep replication from working\n", bad)
	case len(findings) > 0:
		fmt.Fprintln(a.out, "\nreplication can work")
	}
	return bad
}

func (a *app) cmdMigrate() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the tables, the publication and the slot in Postgres",
		Long: "Creates or upgrades the four tables, their indexes, the publication and the replication slot.\n" +
			"Never drops or changes what it finds. serve does the same at its start unless postgres.migrate\n" +
			"is off. The slot keeps WAL from now on: start serve soon, it replaces the slot by its own in\n" +
			"the moment of the first copy. A role that may not replicate leaves the slot to serve.",
		Example: "  CARBOND_POSTGRES_URL=postgres://owner@localhost/carbon carbond migrate",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := a.postgres()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			if err := replicate.Migrate(ctx, opt); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "tables and publication %q are up to date\n", opt.Publication)
			created, err := replicate.PrepareSlot(ctx, opt)
			var trouble *replicate.Error
			switch {
			case errors.As(err, &trouble) && trouble.Kind == replicate.KindReplicationRight:
				fmt.Fprintf(a.out, "replication slot %q is left to serve: this role may not replicate\n", opt.Slot)
			case err != nil:
				return err
			case created:
				fmt.Fprintf(a.out, "replication slot %q waits for the first start of serve and keeps WAL until then\n", opt.Slot)
			default:
				fmt.Fprintf(a.out, "replication slot %q exists\n", opt.Slot)
			}
			return nil
		},
	}
}

func (a *app) cmdTeardown() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "teardown",
		Short: "Drop the replication slot and the publication",
		Long: "Drops the slot and the publication in Postgres, so that the server keeps no WAL for a\n" +
			"carbond that is gone. Tables and rows stay. The publication stays too while the database has\n" +
			"other slots that may be read with it. Stop the daemon first. Asks before it acts, unless --yes\n" +
			"is given.",
		Example: "  systemctl stop carbond && carbond teardown\n  carbond teardown --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := a.postgres()
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Drop slot %q and publication %q? A carbond that used them must copy the tables anew.", opt.Slot, opt.Publication)
			if err := a.confirm(question, yes); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			kept, err := replicate.Teardown(ctx, opt)
			if err != nil {
				return err
			}
			if len(kept) > 0 {
				_, err = fmt.Fprintf(a.out, "slot %q is gone; publication %q stays, since other slots of the database may be read with it: %s\n"+
					"(when none is: DROP PUBLICATION %s)\n", opt.Slot, opt.Publication, strings.Join(kept, ", "), pgx.Identifier{opt.Publication}.Sanitize())
				return err
			}
			_, err = fmt.Fprintf(a.out, "slot %q and publication %q are gone\n", opt.Slot, opt.Publication)
			return err
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// confirm asks, on a terminal or whoever is at the other end of a pipe.
func (a *app) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer == "" && !a.tty {
		return usageError{errors.New("nobody can be asked here: give --yes to confirm")}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed, nothing was changed")
}
