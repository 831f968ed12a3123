package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
)

const nginxConf = `
daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log stderr warn;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server {
    listen unix:%[1]s/socket http2;
    location / { grpc_pass grpc://%[2]s; grpc_read_timeout 8s; }
  }
}
`

// TestBehindNginx: nginx ends a stream on which the daemon is silent for its read
// time-out, 60 s unless it is told another one. Followers of quiet tables live on.
func TestBehindNginx(t *testing.T) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		missing(t, "nginx is not installed")
	}
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_nginx"}
	program.Must(t, env, "migrate")
	pgtest.Exec(t, url, "INSERT INTO news(guid, title) VALUES ('n1', 'before')")
	d := serve(t, env)
	programtest.Until(t, 2*time.Minute, "first copy", func() bool { _, err := d.get(t.Context(), "/readyz"); return err == nil })

	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, d.GRPC), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	nginx := exec.Command(path, "-c", conf, "-e", "stderr")
	nginx.Stdout, nginx.Stderr = &said, &said
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = nginx.Process.Signal(syscall.SIGTERM)
		_ = nginx.Wait() // of a signal
		if t.Failed() {
			t.Logf("nginx: %s", said.String())
		}
	}()
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "socket"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	log, api := pb.NewChangelogServiceClient(conn), pb.NewCarbonServiceClient(conn)
	records, err := log.Consume(t.Context(), &pb.ConsumeRequest{Follow: true}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	watch, err := api.WatchNews(t.Context(), &pb.WatchNewsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	quiet := func(began time.Time) bool { return time.Since(began) < 20*time.Second }
	for began := time.Now(); quiet(began); {
		if _, err := records.Recv(); err != nil {
			t.Fatalf("Consume after %v: %v", time.Since(began), err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatalf("WatchNews after %v: %v", time.Since(began), err)
		}
	}
	pgtest.Exec(t, url, "INSERT INTO news(guid, title) VALUES ('n2', 'after')")
	for n := 0; n == 0; {
		m, err := records.Recv()
		if err != nil {
			t.Fatal(err)
		}
		n = len(m.Records)
	}
	for n := 0; n == 0; {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		n = len(m.Deltas)
	}
}
