// Package admin is the HTTP listener of the daemon: metrics, probes, status as
// JSON, the console page and, when switched on, profiles.
//
// Invariants
//
//  1. It changes nothing: every route answers GET and HEAD only.
//  2. It shows no secret; the Status that it is given holds none.
//  3. /healthz speaks of the process alone, /readyz of everything that serving
//     needs. A daemon that is not ready stays alive.
//  4. Nothing but this package's own files is loaded by the page, which is whole
//     without JavaScript: its script fetches the page again and exchanges parts.
//  5. What comes from elsewhere is escaped, set apart from the direction of the
//     text around it, and cut; a link is one only when it leads to the web.
//
// It knows no stage: package main passes functions that report.
package admin
