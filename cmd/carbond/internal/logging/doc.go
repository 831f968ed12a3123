// Package logging builds the daemon's one *slog.Logger: text or JSON lines on
// standard error, in the form that the receiver wants.
//
// Under journald the time is left out, since the journal stamps each line, and
// each line starts with its priority ("<4>"), so that `journalctl -p warning`
// works. Every string and error that is logged passes a redactor: the last line
// of defence after the Secret type, for texts that come from libraries.
package logging
