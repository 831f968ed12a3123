package store_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"carbond/store"
	"carbond/store/change"
)

// A store is written by one process and read by any number of goroutines: each
// answer comes from one version, and the log says how it came about.
func Example() {
	dir, err := os.MkdirTemp("", "carbond")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	ctx := context.Background()
	quote := func(price string) change.Edit {
		return change.Edit{
			Table: change.Finance, Columns: []string{"ticker", "timestamp", "price"},
			Rows: []change.Row{texts("KRBN", "1700000000", price)},
		}
	}
	before := s.Snapshot()
	for _, price := range []string{"29.5", "30.25"} {
		if _, err := s.Write(ctx, []change.Edit{quote(price)}); err != nil {
			log.Fatal(err)
		}
	}
	for q := range s.Snapshot().Quotes("", "") {
		fmt.Println(q.Ticker, q.Price)
	}
	for range before.Quotes("", "") {
		fmt.Println("a version never changes")
	}
	records, err := s.NewReader(s.Oldest()).Read(1 << 20)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range records {
		fmt.Println(change.TopicName(r.Relation.Name), r.Op)
	}
	// Output:
	// KRBN 30.25
	// carbon.public.finance c
	// carbon.public.finance u
}
