package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"carbond/store"
	"carbond/store/change"
)

func cmdFsck(a *app) *cobra.Command {
	var rebuild bool
	c := &cobra.Command{
		Use:   "fsck",
		Short: "Check every segment, the checkpoint and the invariants of a data directory",
		Long: "Reads the whole data directory offline and changes nothing: checksums, gaps, seals, the\n" +
			"rows of every record against the state it applies to, the checkpoint against a replay, and the\n" +
			"key filters beside the segments.\n" +
			"Prints each problem with file and offset. Exit code 0 when all is well. Stop the daemon first.\n" +
			"With --rebuild-checkpoint it sets a damaged checkpoint aside first; the next start makes it\n" +
			"again from the changelog, which must still reach back to its beginning.",
		Example: "  systemctl stop carbond && carbond fsck\n  carbond fsck --data-dir ./carbond-data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(overridden(cmd.Flags()))
			if err != nil {
				return err
			}
			if rebuild {
				if err := store.RebuildCheckpoint(cfg.DataDir); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s: the old checkpoint is checkpoint.db.damaged now; the next start makes a new one\n", cfg.DataDir)
			}
			r, err := store.Check(cfg.DataDir)
			if errors.Is(err, store.ErrLocked) {
				return fmt.Errorf("%w (fsck needs the directory for itself)", err)
			}
			if err != nil {
				return fmt.Errorf("check %s: %w", cfg.DataDir, err)
			}
			return printCheck(a, cfg.DataDir, r)
		},
	}
	c.Flags().BoolVar(&rebuild, "rebuild-checkpoint", false, "set the checkpoint aside and let the next start rebuild it from the changelog")
	addOverrides(c.Flags(), "data-dir")
	return c
}

func printCheck(a *app, dir string, r *store.Report) error {
	fmt.Fprintf(a.out, "%s: %d segments, %d records, offsets %d to %d, checkpoint at %d\n",
		dir, r.Segments, r.Records, r.Oldest, r.Position.Offset, r.Checkpoint)
	if h := r.History; h.ID != "" {
		fmt.Fprintf(a.out, "  history      %s, offsets from %d\n", h.ID, h.First)
		for _, p := range slices.Backward(h.Parents) {
			fmt.Fprintf(a.out, "  restored of  %s, offsets to %d\n", cmp.Or(p.ID, "a log without an id"), p.Last)
		}
	}
	for _, t := range change.Tables() {
		fmt.Fprintf(a.out, "  %-12s %d rows\n", t, r.Rows[t])
	}
	if r.Position.Source.Embedded() {
		fmt.Fprintln(a.out, "  source       embedded")
	} else {
		s := r.Position.Source
		fmt.Fprintf(a.out, "  source       database %s of cluster %s, slot %s, LSN %s\n", s.Database, s.SystemID, s.Slot, r.Position.LSN)
	}
	if !r.Rebuilt {
		fmt.Fprintln(a.out, "  the log no longer reaches back to its beginning: the checkpoint was checked by itself, not against a replay")
	}
	if len(r.Problems) == 0 {
		_, err := fmt.Fprintln(a.out, "no problems")
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintf(a.out, "PROBLEM: %v\n", p)
	}
	fmt.Fprintf(a.out, "%s. Keep a copy of the directory before you change anything in it.\n", count(len(r.Problems), "problem", "problems"))
	return errQuiet
}
