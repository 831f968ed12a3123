package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carbond/replicate"
	"carbond/replicate/pgerr"
)

// Run never gives up by itself: what is wrong stands in the status, with a kind
// that a program can act upon, until it is mended or the context ends.
func Example() {
	r := replicate.New(newSink(), replicate.Options{
		URL: "postgres://carbond@127.0.0.1:1/market?connect_timeout=1", MaxBackoff: 10 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.Status().Phase != replicate.PhaseWaiting {
		<-tick.C
	}
	fmt.Println(r.Status().Kind == pgerr.KindConnect, r.Status().Kind.Gap())
	stop()
	fmt.Println(<-done)
	// Output:
	// true false
	// <nil>
}

// A setting that cannot work is refused without a connection, with the remedy.
func ExampleOptions_Validate() {
	err := replicate.Options{URL: "postgres://localhost/market", Slot: "My-Slot"}.Validate()
	fmt.Println(err)
	e, ok := errors.AsType[*pgerr.Error](err)
	fmt.Println(ok && e.Kind == pgerr.KindOptions)
	// Output:
	// "My-Slot" is no name for a replication slot; remedy: choose a name of lower-case letters, digits and underscores, at most 63
	// true
}
