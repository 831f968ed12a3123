package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/store"
)

func cmdRestore(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Unpack a backup into an empty data directory",
		Long: "Unpacks a backup into the data directory, which must be empty or missing and may be a mount point,\n" +
			"and checks it as fsck does before serve can open it. Stop the daemon first. A FILE of - is\n" +
			"standard input. Root gives the files to the owner of the data directory, where it exists.\n\n" +
			"The copy gets a history id of its own, and offsets go on above all that was used before: consumers\n" +
			"that come with an offset from behind the backup are told so.\n\n" +
			"A restored copy stands where the backup was taken, and Postgres has long forgotten what came\n" +
			"since: postgres.on_gap says what serve does then. The command prints which it will be.",
		Example: "  carbond restore /var/backups/carbond.tar --data-dir /var/lib/carbond\n  zstd -dc carbond.tar.zst | carbond restore -",
		Args:    oneArg("FILE (- for standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load(overridden(cmd.Flags()))
			if err != nil {
				return err
			}
			return restore(a, cfg, args[0])
		},
	}
	addOverrides(c.Flags(), "data-dir")
	return c
}

func restore(a *app, cfg *config.Config, path string) error {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	back, err := actAsOwner(cfg.DataDir)
	if err != nil {
		return err
	}
	defer back()
	show := a.progress()
	m, report, err := store.Restore(cfg.DataDir, &counted{r: in, show: show}, store.Options{})
	show.End()
	if errors.Is(err, store.ErrTooNew) {
		return fmt.Errorf("%w: use the carbond that made the backup, or a newer one", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "restored %s from the backup of %s, made by carbond %s\n", cfg.DataDir, m.Made.Format(time.RFC3339), client.Plain(m.Version))
	if len(m.Files) == 0 {
		fmt.Fprintln(a.out, "WARNING: the backup is of a version that wrote no list of files: that none is missing or changed was checked as far as fsck can")
	}
	if err := printCheck(a, cfg.DataDir, report); err != nil {
		return err
	}
	if owner, ok := ownerOf(cfg.DataDir); ok && owner.Uid == 0 {
		fmt.Fprintf(a.out, "%s belongs to root: when carbond runs as another user, `chown -R USER: %s` first\n", cfg.DataDir, cfg.DataDir)
	}
	_, err = fmt.Fprintln(a.out, whatNext(cfg, report))
	return err
}

// ownerOf returns the owner of a folder.
func ownerOf(dir string) (*syscall.Stat_t, bool) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return st, ok
}

// actAsOwner makes root go on as the user to whom the data directory belongs, so
// that the daemon can open what is made there, and so that nothing which that user
// has put there makes root write elsewhere. back ends it.
func actAsOwner(dir string) (back func(), err error) {
	st, ok := ownerOf(dir)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return func() {}, nil
	}
	gid := os.Getegid()
	groups, err := syscall.Getgroups()
	if err != nil {
		return nil, err
	}
	back = func() { _ = errors.Join(syscall.Seteuid(0), syscall.Setegid(gid), syscall.Setgroups(groups)) }
	err = errors.Join(syscall.Setgroups([]int{int(st.Gid)}), syscall.Setegid(int(st.Gid)), syscall.Seteuid(int(st.Uid)))
	if err != nil {
		back()
		return nil, fmt.Errorf("restore as the owner of %s: %w", dir, err)
	}
	return back, nil
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
		return fmt.Sprintf("next: the backup is of database %s, but postgres.url is empty: set it, or serve will refuse the directory", client.Plain(src.Database))
	}
	at := fmt.Sprintf("next: the copy ends at LSN %s. If slot %s of database %s has been confirmed beyond that, the changes between are gone from Postgres", r.Position.LSN, client.Plain(src.Slot), client.Plain(src.Database))
	if src.Slot != cfg.Postgres.Slot {
		at = fmt.Sprintf("next: the copy ends at LSN %s of slot %s, but postgres.slot is %s", r.Position.LSN, client.Plain(src.Slot), cfg.Postgres.Slot)
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
	what string
	all  int64 // 0 when nobody knows how much there is
	show *client.Progress
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.all > 0 {
		c.show.Part(c.what, c.n, c.all)
	} else {
		c.show.Update(0, c.n)
	}
	return n, err
}
