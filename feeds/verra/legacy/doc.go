// Package legacy reads the shapes of the registry's old web application and its
// CSV exports. Those endpoints died in July 2026; what remains are files that
// people saved, and this package turns them into the types of package verra for
// an import of history. It does no I/O.
//
// Invariants
//
//  1. Nothing read here overrides live data: the caller imports only projects
//     that the live feed does not have.
//  2. Beneficiaries and retirement details, which name people, are not read.
//  3. A file that was cut off by the old server says so (Page.Exceeded).
//  4. Unknown stays unset, and an odd field is refused and counted, as in
//     package verra. The quantities of the old ledger rows overlap (an issuance
//     and its retirements are both listed), so no supply is derived from them.
package legacy
