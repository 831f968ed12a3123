//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// TestBlockedWriterHoldsNobody lets the disk stand still inside a commit of the
// changelog. Every handler of gRPC and HTTP goes on to answer, with what was there
// before.
func TestBlockedWriterHoldsNobody(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	disk := faultfs.Mount(t, t.TempDir())
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(disk.Dir, "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_blocked"}
	program.Must(t, env, "migrate")
	d := serve(t, env)
	conn := d.Dial(t)
	api := pb.NewCarbonServiceClient(conn)
	write := func(guid string) {
		pgtest.Exec(t, url, "INSERT INTO news(guid, title, source, published_at) VALUES ('"+guid+"', 'title', 'Reuters', now())", "INSERT INTO verra(project_id, country) VALUES ('"+guid+"', 'Peru')")
	}
	level := func() {
		lsn, err := change.ParseLSN(pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn()")[0][0])
		if err != nil {
			t.Fatal(err)
		}
		waitLSN(t.Context(), t, api, lsn)
	}
	programtest.Until(t, 2*time.Minute, "slot", func() bool {
		return pgtest.Text(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'e2e_blocked' AND active")[0][0] == "1"
	})
	write("before")
	level()
	disk.Inject(faultfs.Fault{Ops: []faultfs.Kind{faultfs.Sync}, Path: "*.seg", For: -1, Slow: time.Hour})
	defer disk.Heal()
	write("behind")
	programtest.Until(t, 2*time.Minute, "commit that the disk holds up", func() bool { return disk.Hit() > 0 })
	for name, call := range unblocked(conn, d) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what waits for the writer waits for an hour
			defer cancel()
			if err := call(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	r, err := api.GetNews(t.Context(), &pb.NewsQuery{})
	if err != nil || len(r.Items) != 1 {
		t.Errorf("%v, %v: what is not durable is served", r, err)
	}
	disk.Heal()
	level()
	if r, err := api.GetNews(t.Context(), &pb.NewsQuery{}); err != nil || len(r.Items) != 2 {
		t.Errorf("when the disk is well: %v, %v", r, err)
	}
	d.stop(t)
}

// unblocked are calls of every kind that the daemon answers, each to its first
// message or to its end.
func unblocked(conn *grpc.ClientConn, d *daemon) map[string]func(context.Context) error {
	api, log := pb.NewCarbonServiceClient(conn), pb.NewChangelogServiceClient(conn)
	const topic = "carbon.public.news"
	out := map[string]func(context.Context) error{
		"GetProjects": func(ctx context.Context) error { _, err := api.GetProjects(ctx, &pb.ProjectQuery{}); return err },
		"GetProjects, no cache": func(ctx context.Context) error {
			_, err := api.GetProjects(ctx, &pb.ProjectQuery{Country: "Peru"})
			return err
		},
		"GetFinanceData": func(ctx context.Context) error { _, err := api.GetFinanceData(ctx, &pb.FinanceQuery{}); return err },
		"GetProjectDetail": func(ctx context.Context) error {
			_, err := api.GetProjectDetail(ctx, &pb.ProjectDetailQuery{ProjectId: "before"})
			return err
		},
		"GetNonStreamingNews": func(ctx context.Context) error { _, err := api.GetNonStreamingNews(ctx, &pb.NewsQuery{}); return err },
		"GetNews of a time": func(ctx context.Context) error {
			_, err := api.GetNews(ctx, &pb.NewsQuery{AsOfTime: "2020-01-01T00:00:00Z"})
			return err
		},
		"ListTopics":         func(ctx context.Context) error { _, err := log.ListTopics(ctx, &pb.ListTopicsRequest{}); return err },
		"ListGroups":         func(ctx context.Context) error { _, err := log.ListGroups(ctx, &pb.ListGroupsRequest{}); return err },
		"Consume":            func(ctx context.Context) error { return drain(log.Consume(ctx, &pb.ConsumeRequest{})) },
		"Consume, following": func(ctx context.Context) error { return first(log.Consume(ctx, &pb.ConsumeRequest{Follow: true})) },
		"WatchNews":          func(ctx context.Context) error { return first(api.WatchNews(ctx, &pb.WatchNewsRequest{})) },
		"WatchProjects":      func(ctx context.Context) error { return first(api.WatchProjects(ctx, &pb.WatchProjectsRequest{})) },
		"Consume of a group, commit and reset": func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			ss, err := log.Consume(ctx, &pb.ConsumeRequest{Group: "desk", MemberId: "m", Topics: []string{topic}})
			var generation, last uint64
			for err == nil {
				var m *pb.ConsumeResponse
				m, err = ss.Recv()
				generation = max(generation, m.GetGeneration())
				for _, r := range m.GetRecords() {
					last = r.Offset
				}
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			if _, err := log.CommitOffset(ctx, &pb.CommitOffsetRequest{Group: "desk", Topic: topic, Offset: last, Generation: generation}); err != nil {
				return err
			}
			_, err = log.ResetGroup(ctx, &pb.ResetGroupRequest{Group: "desk", To: &pb.ResetGroupRequest_Earliest{Earliest: true}})
			return err
		},
		"health": func(ctx context.Context) error {
			_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			return err
		},
		"reflection": func(ctx context.Context) error {
			ss, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
			if err == nil {
				err = ss.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
			}
			if err == nil {
				_, err = ss.Recv()
			}
			return err
		},
	}
	for _, path := range []string{"/", "/status.json", "/metrics", "/healthz", "/readyz", "/readyz?verbose"} {
		out[path] = func(ctx context.Context) error {
			_, err := d.get(ctx, path)
			if err != nil && strings.HasPrefix(path, "/readyz") && strings.Contains(err.Error(), "503") {
				err = nil // it may say that the data is old
			}
			return err
		}
	}
	return out
}

// first waits for a message of a stream.
func first[M any](ss grpc.ServerStreamingClient[M], err error) error {
	if err == nil {
		_, err = ss.Recv()
	}
	return err
}

// drain reads a stream to its end.
func drain[M any](ss grpc.ServerStreamingClient[M], err error) error {
	for err == nil {
		_, err = ss.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
