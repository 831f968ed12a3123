package daemon

import (
	"context"
	"fmt"
	"io"
	"time"

	"carbond/store"
	"carbond/store/change"
)

// Welcome says on w what to try in a demo, once there are rows to see.
func (d *Daemon) Welcome(ctx context.Context, w io.Writer) {
	filled(ctx, d.store)
	scheme, plaintext := "http", " -plaintext"
	if d.listen.httpCerts != nil {
		scheme = "https"
	}
	if d.conf.cfg.Load().GRPC.TLS.Enabled() {
		plaintext = ""
	}
	grpcAddr, httpAddr := d.listen.grpc.Addr().String(), d.listen.http.Addr().String()
	fmt.Fprintf(w, `carbond demo: SAMPLE DATA, nothing here comes from a registry or a market.

  console   %[1]s://%[2]s/
  metrics   %[1]s://%[2]s/metrics
  kafka     %[7]s, for Kafka's clients

Try:
  grpcurl%[3]s %[4]s list
  grpcurl%[3]s %[4]s carbon.CarbonService/GetProjects
  grpcurl%[3]s -d '{"country":"Brazil"}' %[4]s carbon.CarbonService/GetProjects
  grpcurl%[3]s -d '{"ticker":"KRBN"}' %[4]s carbon.CarbonService/GetFinanceData
  grpcurl%[3]s -d '{"source":"Verdant Wire"}' %[4]s carbon.CarbonService/GetNews
  grpcurl%[3]s -d '{"project_id":"%[6]s"}' %[4]s carbon.CarbonService/GetProjectDetail
  carbond view projects --addr %[4]s
  kcat -b %[7]s -C -t carbon.public.finance -o beginning -e

Stop with Ctrl-C; the data directory %[5]s goes with it.
`, scheme, httpAddr, plaintext, grpcAddr, d.conf.cfg.Load().DataDir, someProject(d.store), d.listen.kafkaAddr())
}

// someProject returns the id of a project that GetProjectDetail finds, of Verra's if its
// feed was there first: that says most.
func someProject(s *store.Store) string {
	for p := range s.Snapshot().Projects("", "VCS") {
		return p.ProjectID
	}
	return "VCS-90001"
}

// filled waits until every view has rows, so that the first thing a user tries
// has an answer; at most a few seconds.
func filled(ctx context.Context, data *store.Store) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		changed, open := data.Changed()
		s, full := data.Snapshot(), true
		for _, v := range change.Views() {
			full = full && s.ViewRows(v) > 0
		}
		if full || !open {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
