package rpc_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "carbond/proto/carbon"
	"carbond/rpc"
)

// A server needs something that gives it the newest version of the views; all
// else has a default.
func Example() {
	s, err := rpc.New(newReader(sample()), rpc.Options{})
	if err != nil {
		log.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, lis) }()
	s.SetServing(rpc.Service, true)

	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	reply, err := pb.NewCarbonServiceClient(conn).GetFinanceData(ctx, &pb.FinanceQuery{Ticker: "KRBN"})
	if err != nil {
		log.Fatal(err)
	}
	for _, q := range reply.Items {
		fmt.Println(q.Ticker, q.Price)
	}
	_ = conn.Close()
	stop()
	fmt.Println(<-done)
	// Output:
	// KRBN 31.5
	// <nil>
}
