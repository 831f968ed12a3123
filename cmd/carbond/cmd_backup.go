package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/store/durable"
)

func cmdBackup(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the running daemon's data directory into an archive",
		Long: "Copies changelog, checkpoint and consumer groups of the running daemon into a tar archive, while it\n" +
			"goes on working. The archive is written beside FILE as FILE.*.part and gets its name when it is\n" +
			"whole and on disk; an older FILE is replaced. A FILE of - is standard output. The call needs the scope admin.",
		Example: "  carbond backup /var/backups/carbond.tar\n  carbond backup - | zstd > carbond.tar.zst",
		Args:    oneArg("FILE (- for standard output)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			api := pb.NewChangelogServiceClient(conn)
			if args[0] == "-" {
				if client.Terminal(a.out) {
					return client.Usage(errors.New("an archive is not for a terminal: give a FILE or redirect"))
				}
				_, err := receive(a, cmd.Context(), api, a.out)
				return c.Explain(err)
			}
			return c.Explain(backup(a, cmd.Context(), api, args[0]))
		},
	}
	c = client.Flags(cmd, version)
	return cmd
}

// backup writes the archive beside its place and moves it there.
func backup(a *app, ctx context.Context, api pb.ChangelogServiceClient, path string) (err error) {
	// A name that nobody can have put a link under, in a folder of many users.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return client.Output(fmt.Errorf("write the backup: %w", err))
	}
	part := f.Name()
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(part)
		}
	}()
	began := time.Now()
	n, err := receive(a, ctx, api, f)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return client.Output(fmt.Errorf("write the backup: %w", err))
	}
	if err := durable.Rename(part, path); err != nil {
		return client.Output(fmt.Errorf("name the backup: %w", err))
	}
	_, err = fmt.Fprintf(a.out, "wrote %s: %s in %v\n", path, client.Bytes(n), time.Since(began).Round(time.Millisecond))
	return err
}

// receive writes the archive to w and returns its size.
func receive(a *app, ctx context.Context, api pb.ChangelogServiceClient, w io.Writer) (n int64, err error) {
	show := a.progress()
	defer show.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ss, err := api.Backup(ctx, &pb.BackupRequest{})
	if err != nil {
		return 0, err
	}
	for {
		m, err := ss.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil && ctx.Err() != nil:
			return n, client.Output(context.Cause(ctx))
		case err != nil:
			return n, err
		}
		k, err := w.Write(m.GetData())
		if n += int64(k); err != nil {
			return n, client.Output(fmt.Errorf("write the backup: %w", err))
		}
		show.Update(0, n)
	}
}
