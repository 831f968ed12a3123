package replicate

import "carbond/replicate/internal/server"

// Options tell which database to replicate, and how. Zero values mean defaults.
type Options = server.Options

// GapAction says what to do about a gap.
type GapAction = server.GapAction

// The gap actions.
const (
	GapStop       = server.GapStop       // wait for an operator
	GapResnapshot = server.GapResnapshot // copy the tables again
)
