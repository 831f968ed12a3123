package rpc

import "carbond/rpc/internal/wire"

// Gzip compresses messages, and replies that many calls share once.
type Gzip = wire.Gzip

// RegisterGzip has gRPC use a Gzip for the encoding gzip, in the whole process. Call it
// at the start, before anything else of gRPC, and give it to New.
func RegisterGzip() *Gzip { return wire.RegisterGzip() }
