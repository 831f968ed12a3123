// Package verra reads the Verra registry as its public web client sees it: it
// builds the calls, turns the answers into typed rows and, with the Poller, keeps
// a table in step with them. The parsers do no I/O and have no clock; the Poller
// asks through the Cycle that it is given and starts nothing.
//
// The contract is not documented by its owner. Addresses, headers, standard id
// and status map are therefore data that configuration may replace.
//
// # Flow
//
// At start, and again after a 401 or 403:
//
//	env, err := verra.ParseEnvironment(get(verra.EnvironmentURL))
//	list, err := verra.ParseStandards(do(verra.Client{Env: env}.Standards()))
//	std, ok := verra.FindStandard(list, "VCS")       // else verra.VCS()
//	client := verra.Client{Env: env, Standard: std, Extra: originAndReferer}
//
// Every poll, per resource:
//
//	req, err := client.Search(verra.Search{
//		Resource: verra.Projects, Limit: 50, Sort: []verra.Sort{verra.SortChanged()},
//	})
//	page, err := verra.ParseProjects(do(req))
//
// A sweep asks for Start 0, 400, 800 ... sorted by verra.SortSweep until Start
// reaches page.Total, and is accepted by payload.CheckCount only. A ledger of more than MaxStart rows is split with ByVintage; a filter
// that does not make page.Total smaller was ignored by the service.
//
// Rows for the table come from a project and the facts of its units:
//
//	ledger.Add(verra.Issuances, page.Rows...)        // and cancellations
//	ledger.SetComplete(verra.Issuances, true)        // after an accepted sweep
//	ledger.SetTotal(verra.Retirements, p.Number, &t) // from Aggregate, per project
//	row := p.Row(ledger.Facts(p.Number), verra.RowOptions{})
//
// # Invariants
//
//  1. Unknown stays unset. A row never holds a figure that the registry did not
//     give: supply needs issued, retired and cancelled, all three complete.
//  2. An answer without entities is an error (ErrNoEntities), never an empty
//     registry.
//  3. No field that can hold an e-mail address or a person is decoded, and texts
//     lose addresses, markup and invisible characters.
//  4. Header values of the configuration document appear in no printed form.
//  5. An odd field is refused and counted in the Tally; an odd body is a named
//     error of package payload. Neither panics, neither gives a wrong row.
//
// The older shapes of the registry, dead since July 2026, are read by package
// legacy for the import of history.
package verra
