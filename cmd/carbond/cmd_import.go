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
			"summed up: they give what became of each vintage, the newest vintage, and the supply where issued, retired and\n" +
			"cancelled units are there.\n" +
			"Only what is not known is filled in; --overwrite replaces values, --replace also deletes projects, and vintages,\n" +
			"of the files' registries that they lack. The feed of a registry overrules what it knows better at its next poll.\n" +
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
			in.rows, in.rule.Overwrite = registry.Rows{Projects: set.Rows(), Vintages: set.Vintages()}, over
			if len(in.rows.Projects) == 0 {
				return errNoRows
			}
			if in.replace {
				in.rule.Replace, in.rule.Units = set.Registries(), set.UnitRegistries()
			}
			return importProjects(cmd.Context(), a, c, &in, yes)
		},
	}
	c = client.Flags(cmd, version)
	f := cmd.Flags()
	f.StringToStringVar(&opt.Map, "map", nil, "read the column under `HEADER=COLUMN` as one of the table")
	f.StringVar(&opt.Registry, "registry", "", "`NAME` of the registry of a file that only --map makes known")
	f.BoolVar(&over, "overwrite", false, "replace values that are there")
	f.BoolVar(&in.replace, "replace", false, "delete the projects and vintages of the files' registries that the files lack")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// importing is what an import brings.
type importing struct {
	rows    registry.Rows
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
	write := func(preview bool) (change.Written, string, error) { return importOverAPI(ctx, c, in, preview) }
	if !cfg.Embedded() {
		pool, err := daemon.OpenPool(ctx, cfg)
		if err != nil {
			return err
		}
		defer pool.Close()
		write = func(preview bool) (change.Written, string, error) {
			return daemon.Import(ctx, postgres.New(pool), in.rows, in.rule, preview)
		}
	}
	n, note, err := write(true)
	if err != nil {
		return err
	}
	vintages := ""
	if k := len(in.rows.Vintages); k > 0 {
		vintages = fmt.Sprintf(" and %d vintages", k)
	}
	fmt.Fprintf(a.out, "%d projects%s: would insert %d, update %d, delete %d; %d are unchanged\n", len(in.rows.Projects), vintages, n.Inserted, n.Updated, n.Deleted, n.Unchanged)
	if note != "" {
		fmt.Fprintln(a.out, client.Plain(note))
	}
	if !n.Changed() {
		return nil
	}
	if a.tty {
		if err := a.confirm("Write that?", yes); err != nil {
			return err
		}
	}
	if n, _, err = write(false); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "inserted %d, updated %d, deleted %d; %d are unchanged\n", n.Inserted, n.Updated, n.Deleted, n.Unchanged)
	return err
}

// importPart is the number of rows of one message.
const importPart = 200

// importOverAPI has the daemon import.
func importOverAPI(ctx context.Context, c *client.Client, in *importing, preview bool) (n change.Written, note string, err error) {
	conn, err := c.Dial()
	if err != nil {
		return n, "", err
	}
	defer conn.Close()
	s, err := pb.NewAdminServiceClient(conn).ImportProjects(ctx, grpc.WaitForReady(false))
	if err != nil {
		return n, "", c.Explain(err)
	}
	defer in.show.End()
	sent, all := 0, len(in.rows.Projects)+len(in.rows.Vintages)
	m := &pb.ImportProjectsRequest{Preview: preview, Overwrite: in.rule.Overwrite, Replace: in.rule.Replace, ReplaceVintages: in.rule.Units}
	send := func(rows []change.Row, columns []string, to func(*pb.ImportProjectsRequest) *[]*pb.ImportRow) {
		for part := range slices.Chunk(rows, importPart) {
			*to(m) = importRows(part, columns)
			if s.Send(m) != nil {
				return // CloseAndRecv says why
			}
			m = &pb.ImportProjectsRequest{}
			sent += len(part)
			in.show.Part("send projects", int64(sent), int64(all))
		}
	}
	send(in.rows.Projects, registry.Fields(), func(m *pb.ImportProjectsRequest) *[]*pb.ImportRow { return &m.Rows })
	send(in.rows.Vintages, registry.VintageFields(), func(m *pb.ImportProjectsRequest) *[]*pb.ImportRow { return &m.Vintages })
	r, err := s.CloseAndRecv()
	if err != nil {
		return n, "", c.Explain(err)
	}
	return change.Written{Inserted: int(r.GetInserted()), Updated: int(r.GetUpdated()), Deleted: int(r.GetDeleted()), Unchanged: int(r.GetUnchanged())}, r.GetNote(), nil
}

func importRows(rows []change.Row, columns []string) (out []*pb.ImportRow) {
	for _, row := range rows {
		values := map[string]string{}
		for i, v := range row.All() {
			if v.Kind == change.Text {
				values[columns[i]] = v.Text
			}
		}
		out = append(out, &pb.ImportRow{Columns: values})
	}
	return out
}

// errNoRows is an import without a project.
var errNoRows = errors.New("the files have no row with the id of a project: nothing to import")
