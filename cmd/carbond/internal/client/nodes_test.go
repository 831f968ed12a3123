package client_test

import (
	"crypto/tls"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"carbond/cmd/carbond/internal/client"
)

// TestNodes: of several nodes the first that can be reached is asked, by TLS under its own
// name, and the next one when it goes.
func TestNodes(t *testing.T) {
	cert, key := selfSigned(t, "node")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server []grpc.ServerOption
		client client.Client
	}{
		"plain": {},
		"TLS":   {[]grpc.ServerOption{grpc.Creds(credentials.NewServerTLSFromCert(&pair))}, client.Client{CA: cert}},
	} {
		t.Run(name, func(t *testing.T) {
			addrs, stops := "", []func(){}
			for range 3 {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s, ended := grpc.NewServer(c.server...), make(chan error, 1)
				healthpb.RegisterHealthServer(s, health.NewServer())
				go func() { ended <- s.Serve(l) }()
				stop := func() {
					s.Stop()
					<-ended
				}
				addrs += ", " + l.Addr().String()
				stops = append(stops, stop)
			}
			defer stops[2]()
			c.client.Addr = addrs[2:]
			conn, err := c.client.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for i, stop := range stops[:2] {
				stop()
				var err error
				for range 2 { // the first may still go to the node that has ended
					if _, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err == nil {
						break
					}
				}
				if err != nil {
					t.Fatalf("without %d nodes: %v", i+1, err)
				}
			}
		})
	}
}
