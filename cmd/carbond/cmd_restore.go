package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
	"carbond/store"
)

func (a *app) cmdRestore() *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Unpack a backup into an empty data directory",
		Long: "Unpacks a backup into the data directory, which must be empty or missing, and checks it as fsck\n" +
			"does before it gets its name. Stop the daemon first. A FILE of - is standard input.\n\n" +
			"A restored copy stands where the backup was taken, and Postgres has long forgotten what came\n" +
			"since: postgres.on_gap says what serve does then. The command prints which it will be.",
		Example: "  carbond restore /var/backups/carbond.tar --data-dir /var/lib/carbond\n  zstd -dc carbond.tar.zst | carbond restore -",
		Args:    oneArg("FILE (- for standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load(overridden(cmd.Flags()))
			if err != nil {
				return err
			}
			return a.restore(cfg, args[0])
		},
	}
	addOverrides(c.Flags(), "data-dir")
	return c
}

func (a *app) restore(cfg *config.Config, path string) error {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	show := newProgress(a)
	m, report, err := store.Restore(cfg.DataDir, &counted{r: in, show: show})
	show.end()
	if errors.Is(err, store.ErrTooNew) {
		return fmt.Errorf("%w: use the carbond that made the backup, or a newer one", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "restored %s from the backup of %s, made by carbond %s\n", cfg.DataDir, m.Made.Format(time.RFC3339), plain(m.Version))
	if err := a.printCheck(cfg.DataDir, report); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, whatNext(cfg, report))
	return err
}

// whatNext says what serve will do with a restored copy.
func whatNext(cfg *config.Config, r *store.Report) string {
	src := r.Position.Source
	switch {
	case src.Embedded() && cfg.Embedded():
		return "next: carbond serve goes on from here; the feeds bring what changed since the backup"
	case src.Embedded():
		return "next: the backup is of embedded mode, but postgres.url is set: serve replaces it by a copy of the database"
	case cfg.Embedded():
		return fmt.Sprintf("next: the backup is of database %s, but postgres.url is empty: set it, or serve will refuse the directory", plain(src.Database))
	}
	at := fmt.Sprintf("next: the copy ends at LSN %s. If slot %s of database %s has been confirmed beyond that, the changes between are gone from Postgres", r.Position.LSN, plain(src.Slot), plain(src.Database))
	if src.Slot != cfg.Postgres.Slot {
		at = fmt.Sprintf("next: the copy ends at LSN %s of slot %s, but postgres.slot is %s", r.Position.LSN, plain(src.Slot), cfg.Postgres.Slot)
	}
	if cfg.Postgres.OnGap == "resnapshot" {
		return at + ";\nserve (postgres.on_gap: resnapshot) then copies the tables again and records the differences as changes"
	}
	return at + ";\nserve (postgres.on_gap: stop) then serves the restored data, is not ready and says so: set postgres.on_gap to\nresnapshot to copy the tables again, which records the differences as changes"
}

// counted shows how much was read.
type counted struct {
	r    io.Reader
	n    int64
	show *progress
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.show.update(0, c.n)
	return n, err
}
