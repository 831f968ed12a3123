package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"carbond/store/change"
)

func (a *app) cmdDemo() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run offline with SAMPLE DATA in a temporary data directory",
		Long: "Runs the daemon in embedded mode with sample data, without network and without touching\n" +
			"your data: the data directory is temporary and goes when the demo ends (Ctrl-C).",
		Example:     "  carbond demo\n  carbond demo --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
		Args:        noArgs,
		Annotations: map[string]string{daemonMark: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), overridden(cmd.Flags()))
		},
	}
	addOverrides(c.Flags(), "grpc-listen", "http-listen", "log-level")
	return c
}

func (a *app) demo(ctx context.Context, flags map[string]string) (err error) {
	dir, err := os.MkdirTemp("", "carbond-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary data directory: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil && err == nil {
			err = e
		}
	}()
	// Whatever is configured, a demo touches neither a database nor the net.
	flags["data_dir"], flags["postgres.url"], flags["postgres.password"], flags["feeds.enabled"] = dir, "", "", "none"
	cfg, err := a.load(flags)
	if err != nil {
		return err
	}
	if cfg.Origin("log.level") == "default" {
		cfg.Log.Level = "warn" // what to try should stand out
	}
	return a.serve(ctx, cfg, modeDemo, flags, hooks{
		before: func(d *daemon) error {
			if _, err := d.store.Write(ctx, sample(time.Now())); err != nil {
				return fmt.Errorf("write the sample: %w", err)
			}
			return nil
		},
		up: (*daemon).welcome,
	})
}

// welcome says what to try. Every line names what it is: SAMPLE DATA.
func (d *daemon) welcome() {
	scheme, plaintext := "http", " -plaintext"
	if d.httpCerts != nil {
		scheme = "https"
	}
	if d.cfg.Load().GRPC.TLS.Enabled() {
		plaintext = ""
	}
	grpcAddr, httpAddr := d.grpcListener.Addr().String(), d.httpListener.Addr().String()
	fmt.Fprintf(d.app.out, `carbond demo: SAMPLE DATA, nothing here comes from a registry or a market.

  console   %[1]s://%[2]s/
  metrics   %[1]s://%[2]s/metrics

Try:
  grpcurl%[3]s %[4]s list
  grpcurl%[3]s %[4]s carbon.CarbonService/GetProjects
  grpcurl%[3]s -d '{"country":"Brazil"}' %[4]s carbon.CarbonService/GetProjects
  grpcurl%[3]s -d '{"ticker":"KRBN"}' %[4]s carbon.CarbonService/GetFinanceData
  grpcurl%[3]s -d '{"source":"Reuters"}' %[4]s carbon.CarbonService/GetNews
  carbond view projects --addr %[4]s

Stop with Ctrl-C; the data directory %[5]s goes with it.
`, scheme, httpAddr, plaintext, grpcAddr, d.cfg.Load().DataDir)
}

// sample is a small set of invented rows, each marked as sample data.
func sample(now time.Time) []change.Edit {
	projects := [][]string{ // id, name, status, country, vintage, supply
		{"VCS-S001", "Rio Verde Forest (SAMPLE DATA)", "ACTIVE", "Brazil", "2021", "125000"},
		{"VCS-S002", "Cerrado Wind (SAMPLE DATA)", "ACTIVE", "Brazil", "2022", "48000.5"},
		{"VCS-S003", "Mangrove Coast (SAMPLE DATA)", "UNDER_VALIDATION", "Indonesia", "2023", "91000"},
		{"VCS-S004", "Highland Cookstoves (SAMPLE DATA)", "ACTIVE", "Kenya", "2020", "30250"},
		{"VCS-S005", "Delta Biogas (SAMPLE DATA)", "RETIRED", "India", "2018", "0"},
		{"VCS-S006", "Andes Reforestation (SAMPLE DATA)", "ON_HOLD", "Peru", "2019", "17600"},
	}
	var verra, marks, news, finance []change.Row
	for _, p := range projects {
		verra = append(verra, values(p[0], p[1], "https://example.org/projects/"+p[0], "SAMPLE DATA: an invented project.", p[2], p[3], p[4], p[5]))
	}
	marks = append(marks,
		values("S-1", "VCS-S001", "Rio Verde Forest Conservation (SAMPLE DATA)", "2021", "5000"),
		values("S-2", "VCS-S004", "Highland Clean Cooking (SAMPLE DATA)", "2020", "1200.25"))
	for i, q := range [][]string{ // ticker, price, volume, market cap, change
		{"KRBN", "31.42", "152300", "285000000", "0.8"},
		{"GRN", "24.1", "8400", "41000000", "-0.35"},
		{"MSFT", "512.7", "18230000", "3810000000000", "0.12"},
		{"TSLA", "402.05", "61200000", "1290000000000", "-1.9"},
	} {
		finance = append(finance, values(append(q, strconv.FormatInt(now.Unix()-int64(i), 10))...))
	}
	for i, n := range [][]string{{"Reuters", "Sample headline on carbon prices"}, {"Carbon Pulse", "Sample headline on a registry"}, {"BBC", "Sample headline on forests"}} {
		at := now.Add(-time.Duration(i+1) * time.Hour).UTC()
		id := strconv.Itoa(i + 1)
		news = append(news, values("sample-"+id, "SAMPLE DATA: "+n[1], "https://example.org/news/"+id,
			at.Format(time.RFC1123Z), at.Format("2006-01-02 15:04:05.999999-07"), n[0], "SAMPLE DATA: invented text."))
	}
	return []change.Edit{
		{Table: change.Verra, Stamp: "updated_at", Rows: verra, Columns: []string{"project_id", "project_name", "project_link", "project_summary", "registry_status", "country", "vintage", "supply"}},
		{Table: change.Carbonmark, Stamp: "updated_at", Rows: marks, Columns: []string{"id", "project_id", "project_name", "vintage", "amount"}},
		{Table: change.Finance, Rows: finance, Columns: []string{"ticker", "price", "volume", "market_cap", "change_percent", "timestamp"}},
		{Table: change.News, Rows: news, Columns: []string{"guid", "title", "link", "published", "published_at", "source", "summary"}},
	}
}

func values(texts ...string) change.Row {
	out := make([]change.Value, len(texts))
	for i, v := range texts {
		out[i] = change.T(v)
	}
	return change.NewRow(out...)
}
