package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
)

func cmdMigrate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the tables, the publication and the slot in Postgres",
		Long: "Creates or upgrades the tables, their indexes, the publication and the replication slot.\n" +
			"Never drops or changes what it finds. serve does the same at its start unless postgres.migrate\n" +
			"is off. The slot keeps WAL from now on: start serve soon, it replaces the slot by its own in\n" +
			"the moment of the first copy. A role that may not replicate leaves the slot to serve.",
		Example: "  CARBOND_POSTGRES_URL=postgres://owner@localhost/carbon carbond migrate",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := loadDatabase(a)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), postgresTime)
			defer cancel()
			if err := schema.Migrate(ctx, opt); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "tables and publication %q are up to date\n", opt.Publication)
			created, err := replicate.PrepareSlot(ctx, opt)
			var trouble *pgerr.Error
			switch {
			case errors.As(err, &trouble) && trouble.Kind == pgerr.KindReplicationRight:
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
