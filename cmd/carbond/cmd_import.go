package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/daemon"
	"carbond/feeds/postgres"
	"carbond/feeds/registry"
	pb "carbond/proto/carbon"
	"carbond/store/change"
)

func cmdImport(a *app) *cobra.Command {
	var (
		c    *client.Client
		in   importing
		yes  bool
		opt  registry.Options
		over bool
	)
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Fill in projects from CSV exports of registries",
		Long: "Reads exports of Verra, Gold Standard, ACR, CAR and Puro as CSV, whatever their separator and encoding, says\n" +
			"what they would change, asks on a terminal, and writes the projects in one transaction. Files of units are\n" +
			"summed up: they give the newest vintage, and the supply where issued, retired and cancelled units are there.\n" +
			"Only what is not known is filled in; --overwrite replaces values, --replace also deletes projects of the files'\n" +
			"registries that they lack. The feed of a registry overrules what it knows better at its next poll.\n" +
			"With a database it writes by SQL, in embedded mode through the running daemon (scope admin).",
		Example: "  carbond import allprojects.csv vcus.csv\n  carbond import --yes --map 'Project No.=project_id' --map 'Land=country' --registry 'Gold Standard' list.csv",
		Args:    cobra.MatchAll(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := opt.CheckMap(); err != nil {
				return client.Usage(err)
			}
			set := registry.NewSet(opt)
			in.show = client.NewProgress(a.err, nil, a.redact)
			for _, name := range files {
				if err := readExport(a, set, in.show, name); err != nil {
					return fmt.Errorf("read %s: %w", name, err)
				}
			}
			in.rows, in.rule.Overwrite = set.Rows(), over
			if len(in.rows) == 0 {
				return errNoRows
			}
			if in.replace {
				in.rule.Replace = set.Registries()
			}
			return importProjects(cmd.Context(), a, c, &in, yes)
		},
	}
	c = client.Flags(cmd, version)
	f := cmd.Flags()
	f.StringToStringVar(&opt.Map, "map", nil, "read the column under `HEADER=COLUMN` as one of the table")
	f.StringVar(&opt.Registry, "registry", "", "`NAME` of the registry of a file that only --map makes known")
	f.BoolVar(&over, "overwrite", false, "replace values that are there")
	f.BoolVar(&in.replace, "replace", false, "delete the projects of the files' registries that the files lack")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// importing is what an import brings.
type importing struct {
	rows    []change.Row
	rule    registry.Rule
	replace bool
	show    *client.Progress
}

// readExport adds a file to a set and says what was in it.
func readExport(a *app, set *registry.Set, show *client.Progress, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	var size int64
	if info, err := file.Stat(); err == nil {
		size = info.Size()
	}
	found, err := set.Read(&counted{r: file, what: "read " + client.Plain(name), all: size, show: show})
	show.End()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s, %d rows\n", name, found.Format, found.Rows)
	if len(found.Unread) > 0 {
		fmt.Fprintf(a.out, "  not read: %s\n", client.Plain(strings.Join(found.Unread, ", ")))
	}
	for _, why := range slices.Sorted(maps.Keys(found.LeftOut)) {
		fmt.Fprintf(a.out, "  left out: %d x %s\n", found.LeftOut[why], client.Plain(why))
	}
	return nil
}

// importProjects says what an import would change, asks, and does it.
func importProjects(ctx context.Context, a *app, c *client.Client, in *importing, yes bool) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	write := func(preview bool) (change.Written, error) { return importOverAPI(ctx, c, in, preview) }
	if !cfg.Embedded() {
		pool, err := daemon.OpenPool(ctx, cfg)
		if err != nil {
			return err
		}
		defer pool.Close()
		write = func(preview bool) (change.Written, error) {
			return daemon.Import(ctx, postgres.New(pool), in.rows, in.rule, preview)
		}
	}
	n, err := write(true)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%d projects: would insert %d, update %d, delete %d; %d are unchanged\n", len(in.rows), n.Inserted, n.Updated, n.Deleted, n.Unchanged)
	if !n.Changed() {
		return nil
	}
	if a.tty {
		if err := a.confirm("Write that?", yes); err != nil {
			return err
		}
	}
	if n, err = write(false); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "inserted %d, updated %d, deleted %d; %d are unchanged\n", n.Inserted, n.Updated, n.Deleted, n.Unchanged)
	return err
}

// importPart is the number of rows of one message.
const importPart = 200

// importOverAPI has the daemon import.
func importOverAPI(ctx context.Context, c *client.Client, in *importing, preview bool) (n change.Written, err error) {
	conn, err := c.Dial()
	if err != nil {
		return n, err
	}
	defer conn.Close()
	s, err := pb.NewAdminServiceClient(conn).ImportProjects(ctx, grpc.WaitForReady(false))
	if err != nil {
		return n, c.Explain(err)
	}
	defer in.show.End()
	sent := 0
	m := &pb.ImportProjectsRequest{Preview: preview, Overwrite: in.rule.Overwrite, Replace: in.rule.Replace}
	for part := range slices.Chunk(in.rows, importPart) {
		for _, row := range part {
			columns := map[string]string{}
			for i, v := range row.All() {
				if v.Kind == change.Text {
					columns[registry.Fields()[i]] = v.Text
				}
			}
			m.Rows = append(m.Rows, &pb.ImportRow{Columns: columns})
		}
		if err := s.Send(m); err != nil {
			break // CloseAndRecv says why
		}
		m = &pb.ImportProjectsRequest{}
		sent += len(part)
		in.show.Part("send projects", int64(sent), int64(len(in.rows)))
	}
	r, err := s.CloseAndRecv()
	if err != nil {
		return n, c.Explain(err)
	}
	return change.Written{Inserted: int(r.GetInserted()), Updated: int(r.GetUpdated()), Deleted: int(r.GetDeleted()), Unchanged: int(r.GetUnchanged())}, nil
}

// errNoRows is an import without a project.
var errNoRows = errors.New("the files have no row with the id of a project: nothing to import")
