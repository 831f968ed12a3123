// Package run starts the real things that the observability pack is checked
// against: the daemon, a private Postgres, Debian's Prometheus. Everything
// listens on loopback on a port of its own and ends with the context, Postgres with
// Fleet.Wait.
package run
