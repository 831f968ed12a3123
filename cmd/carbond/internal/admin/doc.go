// Package admin is the HTTP listener of the daemon: metrics, probes, status as
// JSON, the pages that it is given and, when switched on, profiles.
//
// Invariants
//
//  1. It changes nothing: every route of its own answers GET and HEAD only.
//  2. It shows no secret; the Status that it is given holds none.
//  3. /healthz speaks of the process alone, /readyz of everything that serving
//     needs. A daemon that is not ready stays alive.
//
// It knows no stage: package main passes functions that report.
package admin
