// Package carbonmark reads the Carbonmark marketplace: its REST service, and as
// a fallback the subgraphs of the same data. It builds the calls, turns the
// answers into typed rows and, with the Poller, keeps a table in step with them.
// The parsers do no I/O and have no clock.
//
// # Flow
//
//	c := carbonmark.Client{Base: base, Key: key}           // both may be ""
//	page, err := carbonmark.ParseProjects(do(c.Projects(200, offset)))
//	for _, p := range page.Rows { rows = append(rows, p.Row()) }
//
// A sweep raises offset by page.Tally.Elements until a page has none, and is accepted by payload.CheckCount against page.Total and the
// last sweep only. Between sweeps, ParsePrices and CreditRows give what is for
// sale by vintage.
//
// The fallback, at most twice a minute on the free plan:
//
//	g := carbonmark.GraphClient{Key: key}
//	req, err := g.Projects(last, carbonmark.MaxFirst)      // last is "" at first
//	page, err := carbonmark.ParseGraphProjects(do(req))
//	last = page.Last                                       // while Elements == MaxFirst
//
// GraphProject.Row has the ids of Project.Row, so that the fallback writes the
// same rows. An err for which Transient holds deserves one retry; ErrAuth,
// ErrPayment, ErrRemoved and ErrQuery need the operator. A Meta with
// IndexingErrors or a Block below the last one is stale data: keep the old rows.
//
// # Invariants
//
//  1. Unknown stays unset: an empty name, the year 1970 and a missing, negative
//     or absurd amount give no value.
//  2. On-chain amounts are converted exactly; float64 appears only in the final
//     result, correctly rounded. A project's sum is unset when one part is.
//  3. Errors inside a 200 answer are errors, also beside data (ErrPartial).
//  4. Keys go into headers only, and no printed form of a client or Request
//     shows them; messages of key errors are not repeated.
//  5. An odd field is refused and counted in the Tally; an odd body is a named
//     error. Neither panics, neither gives a wrong row.
package carbonmark
