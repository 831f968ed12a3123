package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	"carbond/replicate/schema"
)

func cmdTeardown(a *app) *cobra.Command {
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
			_, opt, err := loadDatabase(a)
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Drop slot %q and publication %q? A carbond that used them must copy the tables again.", opt.Slot, opt.Publication)
			if err := a.confirm(question, yes); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			kept, err := schema.Teardown(ctx, opt)
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
		return client.Usage(errors.New("nobody can be asked here: give --yes to confirm"))
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed, nothing was changed")
}
