package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgconf"
	"carbond/replicate/schema"
	"carbond/rpc"
	"carbond/store/change"
)

func cmdSelftest(a *app) *cobra.Command {
	var (
		t    = selftest{app: a, http: &client.HTTP{}}
		form *client.Form
	)
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Try an installation in numbered phases",
		Long: "Tries the running daemon that the configuration describes, on this machine, or the one that the\n" +
			"connection flags name, in numbered phases: configuration, listeners, certificates, Postgres, a round trip\n" +
			"from a commit to the answer of a call, views against SQL, every call, cache, topics, feeds. It changes no\n" +
			"row; with --write it inserts one row that is marked as its own, waits for it, deletes it and waits again.\n" +
			"In embedded mode what needs a database is skipped. Exit code 0 when no phase failed, 1 otherwise.",
		Example: "  carbond selftest\n  carbond selftest --write --token-file admin.token\n  carbond selftest --format jsonl",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !anyChanged(cmd.Flags(), "addr", "tls", "tls-ca", "tls-cert", "tls-key", "tls-server-name") {
				ownAddress(a, t.client)
			}
			t.ownHTTP = !anyChanged(cmd.Flags(), "http-addr", "http-tls-ca")
			p, err := client.NewPrinter(a.out, form, client.Columns{Names: []string{"phase", "name", "result", "seconds", "detail"}})
			if err != nil {
				return err
			}
			if form.Format == "table" {
				p = phaseLines{a.out}
			}
			return t.run(cmd.Context(), p)
		},
	}
	t.client = client.Flags(cmd, version)
	t.http = client.HTTPFlags(cmd)
	form = client.FormFlags(cmd, a.getenv)
	cmd.Flags().BoolVar(&t.write, "write", false, "insert and delete one marked row of table verra")
	return cmd
}

// selftest is one run. What a phase finds out is used by those behind it.
type selftest struct {
	*app
	client  *client.Client
	http    *client.HTTP
	ownHTTP bool // http is what the configuration says
	write   bool

	cfg  *config.Config
	pool *pgconf.Pool // nil in embedded mode
	conn *grpc.ClientConn
	api  pb.CarbonServiceClient
}

// skipped is the outcome of a phase that does not apply here.
type skipped string

// Error implements error.
func (s skipped) Error() string { return string(s) }

// phaseTime bounds a phase.
const phaseTime = time.Minute

// run runs every phase and prints it as it ends.
func (t *selftest) run(ctx context.Context, p client.Printer) error {
	defer func() {
		if t.pool != nil {
			t.pool.Close()
		}
		if t.conn != nil {
			_ = t.conn.Close() // nothing is under way
		}
	}()
	results := map[string]int{}
	phases := []struct {
		name string
		do   func(context.Context) (detail string, err error)
	}{
		{"configuration", t.configuration},
		{"gRPC", t.serving},
		{"HTTP", t.httpListener},
		{"certificates", t.certificates},
		{"Postgres", t.postgres},
		{"round trip", t.roundTrip},
		{"views are SQL", t.verified},
		{"calls", t.calls},
		{"cache", t.cache},
		{"topics", t.topics},
		{"feeds", t.feeds},
		{"write", t.written},
	}
	for i, phase := range phases {
		began := time.Now()
		pctx, cancel := context.WithTimeout(ctx, phaseTime)
		detail, err := phase.do(pctx)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		result := "ok"
		var skip skipped
		switch {
		case errors.As(err, &skip):
			result, detail = "skipped", skip.Error()
		case err != nil:
			result, detail = "FAILED", strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		results[result]++
		if err := p.Row([]any{i + 1, client.Key(phase.name), client.Key(result), time.Since(began).Seconds(), t.redact(detail)}); err != nil {
			return err
		}
	}
	if err := p.End(); err != nil {
		return err
	}
	if _, table := p.(phaseLines); table {
		fmt.Fprintf(t.out, "\n%d phases: %d ok, %d failed, %d skipped\n", len(phases), results["ok"], results["FAILED"], results["skipped"])
	}
	if results["FAILED"] > 0 {
		return errQuiet
	}
	return nil
}

// phaseLines prints phases for people, each when it ends.
type phaseLines struct{ w io.Writer }

// Row implements client.Printer.
func (p phaseLines) Row(r []any) error {
	_, err := fmt.Fprintf(p.w, "%2d  %-7s  %-14s  %6.2f s  %s\n", r[0], r[2], r[1], r[3], client.Plain(r[4].(string)))
	return err
}

// End implements client.Printer.
func (phaseLines) End() error { return nil }

var errNoDaemon = errors.New("the daemon was not reached, see above")

func (t *selftest) configuration(ctx context.Context) (string, error) {
	cfg, err := t.load(nil)
	if err != nil {
		return "", err
	}
	t.cfg = cfg
	if err := daemon.Check(cfg); err != nil {
		return "", err
	}
	where := cfg.File()
	if where == "" {
		where = "defaults and environment"
	}
	if cfg.Embedded() {
		return where + ", embedded mode", nil
	}
	t.pool, err = daemon.OpenPool(ctx, cfg)
	return where + ", postgres mode", err
}

func (t *selftest) serving(ctx context.Context) (string, error) {
	conn, err := t.client.Dial()
	if err != nil {
		return "", err
	}
	for _, service := range []string{"", rpc.Service, rpc.ChangelogName} {
		r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			return "", errors.Join(t.client.Explain(err), conn.Close())
		}
		if s := r.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
			return "", errors.Join(fmt.Errorf("service %q is %s: carbond status says why", service, s), conn.Close())
		}
	}
	t.conn, t.api = conn, pb.NewCarbonServiceClient(conn)
	return t.client.Addr + " is SERVING", nil
}

func (t *selftest) httpListener(ctx context.Context) (string, error) {
	if t.ownHTTP && t.cfg != nil {
		url, ok := readyURL(t.app, t.cfg)
		if !ok {
			return "", skipped("the HTTP listener wants certificates, or has no fixed port")
		}
		t.http.Addr, t.http.Own = strings.TrimSuffix(url, "/readyz"), true
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/"} {
		code, body, err := t.http.Get(ctx, path)
		if err != nil {
			return "", err
		}
		if code != http.StatusOK {
			first, _, _ := strings.Cut(string(body), "\n")
			return "", fmt.Errorf("%s answers %d: %s", path, code, first)
		}
	}
	return t.http.Addr + " is ready", nil
}

// soon is when a certificate should have been renewed.
const soon = 7 * 24 * time.Hour

func (t *selftest) certificates(context.Context) (string, error) {
	if t.cfg == nil {
		return "", skipped("the configuration is not known")
	}
	var said []string
	for name, tls := range map[string]config.TLS{"grpc": t.cfg.GRPC.TLS, "http": t.cfg.HTTP.TLS} {
		if !tls.Enabled() {
			continue
		}
		s, err := certs.Load(certs.Files{Cert: tls.Cert, Key: tls.Key, ClientCA: tls.ClientCA})
		if err != nil {
			return "", fmt.Errorf("%s.tls_cert: %w", name, err)
		}
		if left := time.Until(s.NotAfter()); left < soon {
			return "", fmt.Errorf("%s.tls_cert %s expires %s: renew it", name, tls.Cert, s.NotAfter().Format(time.RFC3339))
		}
		said = append(said, fmt.Sprintf("%s until %s", name, s.NotAfter().Format(time.DateOnly)))
	}
	if len(said) == 0 {
		return "", skipped("no listener has TLS")
	}
	slices.Sort(said)
	return strings.Join(said, ", "), nil
}

var errNoDatabase = skipped("embedded mode, or the configuration does not load")

func (t *selftest) postgres(ctx context.Context) (string, error) {
	if t.pool == nil {
		return "", errNoDatabase
	}
	opt := daemon.ReplicateOptions(t.cfg)
	findings, err := schema.Preflight(ctx, opt)
	if err != nil {
		return "", err
	}
	var bad []string
	warnings := 0
	for _, f := range findings {
		switch {
		case f.OK:
		case f.Warning:
			warnings++
		default:
			bad = append(bad, f.Name+": "+f.Detail)
		}
	}
	if len(bad) > 0 {
		return "", fmt.Errorf("%s (carbond doctor prints what repairs it)", strings.Join(bad, "; "))
	}
	return fmt.Sprintf("%d checks, %s", len(findings), count(warnings, "warning", "warnings")), nil
}

// roundTrip commits a message without a row and waits until a call's answer is at
// least as new.
func (t *selftest) roundTrip(ctx context.Context) (string, error) {
	switch {
	case t.pool == nil:
		return "", errNoDatabase
	case t.conn == nil:
		return "", errNoDaemon
	}
	if _, err := t.pool.Exec(ctx, "SELECT pg_logical_emit_message(true, 'carbond', 'selftest')"); err != nil {
		return "", fmt.Errorf("write a logical message: %w", err)
	}
	began := time.Now()
	lsn, err := t.waitLSN(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("LSN %s was served after %v", lsn, time.Since(began).Round(100*time.Microsecond)), nil
}

// waitLSN waits until answers have all that is committed now.
func (t *selftest) waitLSN(ctx context.Context) (lsn string, err error) {
	if err := t.pool.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		return "", fmt.Errorf("ask for the position of Postgres: %w", err)
	}
	err = patiently(metadata.AppendToOutgoingContext(ctx, rpc.HeaderMinLSN, lsn), func(ctx context.Context) error {
		_, err := t.api.GetFinanceData(ctx, &pb.FinanceQuery{PageSize: 1})
		return err
	})
	return lsn, t.client.Explain(err)
}

func (t *selftest) verified(ctx context.Context) (string, error) {
	switch {
	case t.pool == nil:
		return "", errNoDatabase
	case t.conn == nil:
		return "", errNoDaemon
	}
	v := &verifier{client: t.client, api: t.api, opt: daemon.ReplicateOptions(t.cfg)}
	c, err := v.compare(ctx)
	if err == nil && c.keys+c.groups > 0 {
		err = fmt.Errorf("%v: carbond verify names them", c)
	}
	return c.String(), err
}

// calls makes every call that answers at once.
func (t *selftest) calls(ctx context.Context) (string, error) {
	if t.conn == nil {
		return "", errNoDaemon
	}
	projects, err := t.api.GetProjects(ctx, &pb.ProjectQuery{PageSize: 1})
	if err != nil {
		return "", fmt.Errorf("GetProjects: %w", t.client.Explain(err))
	}
	n := 1
	for name, call := range map[string]func() error{
		"GetNews":                 func() error { _, err := t.api.GetNews(ctx, &pb.NewsQuery{}); return err },
		"GetFinanceData":          func() error { _, err := t.api.GetFinanceData(ctx, &pb.FinanceQuery{}); return err },
		"GetNonStreamingProjects": func() error { _, err := t.api.GetNonStreamingProjects(ctx, &pb.ProjectQuery{PageSize: 1}); return err },
		"GetNonStreamingNews":     func() error { _, err := t.api.GetNonStreamingNews(ctx, &pb.NewsQuery{PageSize: 1}); return err },
		"GetNonStreamingFinanceData": func() error {
			_, err := t.api.GetNonStreamingFinanceData(ctx, &pb.FinanceQuery{PageSize: 1})
			return err
		},
		"GetProjectDetail": func() error {
			if len(projects.GetItems()) == 0 {
				return nil
			}
			_, err := t.api.GetProjectDetail(ctx, &pb.ProjectDetailQuery{ProjectId: projects.GetItems()[0].GetProjectId()})
			return err
		},
	} {
		if err := call(); err != nil {
			return "", fmt.Errorf("%s: %w", name, t.client.Explain(err))
		}
		n++
	}
	if len(projects.GetItems()) == 0 {
		return fmt.Sprintf("%d calls answer; there are no projects yet", n-1), nil
	}
	return fmt.Sprintf("%d calls answer", n), nil
}

// cache asks the same until the answer comes from the cache: a change in between
// makes it new.
func (t *selftest) cache(ctx context.Context) (string, error) {
	if t.conn == nil {
		return "", errNoDaemon
	}
	for range 20 {
		var h metadata.MD
		if _, err := t.api.GetFinanceData(ctx, &pb.FinanceQuery{}, grpc.Header(&h)); err != nil {
			return "", t.client.Explain(err)
		}
		if slices.Contains(h.Get(rpc.HeaderCache), "hit") {
			return "a call asked twice was answered by the cache", nil
		}
	}
	return "", errors.New("20 equal calls were all computed again")
}

// topics lists the topics and reads one change of each that has any.
func (t *selftest) topics(ctx context.Context) (string, error) {
	if t.conn == nil {
		return "", errNoDaemon
	}
	api := pb.NewChangelogServiceClient(t.conn)
	r, err := api.ListTopics(ctx, &pb.ListTopicsRequest{})
	if err != nil {
		return "", t.client.Explain(err)
	}
	read := 0
	for _, topic := range r.GetTopics() {
		if topic.GetFirst() >= topic.GetNext() {
			continue
		}
		ok, err := readOne(ctx, api, topic.GetName())
		if err != nil {
			return "", fmt.Errorf("read %s: %w", topic.GetName(), t.client.Explain(err))
		}
		if ok {
			read++
		}
	}
	return fmt.Sprintf("%d topics, a change read of %d", len(r.GetTopics()), read), nil
}

func readOne(ctx context.Context, api pb.ChangelogServiceClient, topic string) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ss, err := api.Consume(ctx, &pb.ConsumeRequest{Topics: []string{topic}, Start: &pb.ConsumeRequest_Earliest{Earliest: true}, Format: "row"})
	for err == nil {
		var m *pb.ConsumeResponse
		if m, err = ss.Recv(); len(m.GetRecords()) > 0 {
			return true, nil
		}
	}
	if errors.Is(err, io.EOF) { // retention took it meanwhile
		return false, nil
	}
	return false, err
}

func (t *selftest) feeds(ctx context.Context) (string, error) {
	s, err := t.http.Status(ctx)
	if err != nil {
		return "", err
	}
	if len(s.Feeds) == 0 {
		return "", skipped("no feed is on (feeds.enabled)")
	}
	var bad []string
	waiting := 0
	for _, f := range s.Feeds {
		switch {
		case f.Failures > 0 || f.Stale:
			bad = append(bad, fmt.Sprintf("%s is %s: %s", f.Name, f.State, f.LastError))
		case f.LastSuccess == nil:
			waiting++
		}
	}
	if len(bad) > 0 {
		return "", errors.New(strings.Join(bad, "; "))
	}
	return fmt.Sprintf("%s, %d not polled yet", count(len(s.Feeds), "feed", "feeds"), waiting), nil
}

// written inserts a row that only this run can have made, and deletes it.
func (t *selftest) written(ctx context.Context) (detail string, err error) {
	switch {
	case !t.write:
		return "", skipped("--write is not given")
	case t.pool == nil:
		return "", errNoDatabase
	case t.conn == nil:
		return "", errNoDaemon
	}
	id := "CARBOND-SELFTEST-" + rand.Text()
	remove := func(ctx context.Context) error {
		_, err := t.pool.Exec(ctx, "DELETE FROM public.verra WHERE project_id = $1", id)
		return err
	}
	began := time.Now()
	if _, err := t.pool.Exec(ctx, "INSERT INTO public.verra (project_id, project_name, country) VALUES ($1, 'selftest of carbond', 'selftest of carbond')", id); err != nil {
		return "", fmt.Errorf("insert a row: %w", err)
	}
	defer func() { // also after a signal, and once more when it is gone already
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		err = errors.Join(err, remove(last))
	}()
	if err := t.seen(ctx, id, true); err != nil {
		return "", err
	}
	there := time.Since(began)
	if err := remove(ctx); err != nil {
		return "", fmt.Errorf("delete the row: %w", err)
	}
	if err := t.seen(ctx, id, false); err != nil {
		return "", err
	}
	return fmt.Sprintf("row %s was served %v after its insert began, and is gone", id, there.Round(100*time.Microsecond)), nil
}

// seen waits for the present position and wants the row there, or not.
func (t *selftest) seen(ctx context.Context, id string, want bool) error {
	lsn, err := t.waitLSN(ctx)
	if err != nil {
		return err
	}
	rows, _, err := client.ViewPage(ctx, t.api, change.ViewProjects.Def(), client.ViewQuery{Filter: "selftest of carbond"})
	if err != nil {
		return t.client.Explain(err)
	}
	found := slices.ContainsFunc(rows, func(r []any) bool { return r[0] == id })
	if found != want {
		return fmt.Errorf("at LSN %s row %s is in the view: %t, want %t", lsn, id, found, want)
	}
	return nil
}
