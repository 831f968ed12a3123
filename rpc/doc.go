// Package rpc serves carbon.CarbonService over gRPC from the store's snapshots.
//
// It is the last stage: the store publishes immutable snapshots of the views,
// one for each source transaction; rpc turns them into encoded replies, keeps
// those, and sends them. It sees the store only through Reader, History, Changelog
// and the words of store/change. A Get call is told of no changes: it takes the
// newest snapshot, asks it for the version of what the call reads, and compares.
//
//	s, err := rpc.New(reader, rpc.Options{Pool: pool})
//	go s.Serve(ctx, listener)     // blocks until ctx ends
//	s.SetServing("", true)        // once the views are loaded
//	s.SetServing(rpc.Service, true)
//	s.Shutdown(ctx)               // drains; Serve's context does it, too
//
// # Invariants
//
//  1. An answer is computed from one snapshot. Version and rows never come from
//     two.
//  2. A cached list is sent only while the Version of its view and filter
//     equals that of the snapshot it was made from; a cached detail only while
//     the row is the same. The TTL is an upper bound on top.
//  3. A NonStreaming answer is kept under the version that was read before its
//     SQL ran, so it is at least as new as the store, and the first change of
//     its tables that the store sees ends it.
//  4. A hit encodes nothing and copies no message: the reply holds its encoded
//     form in the unknown fields, and internal/wire sends those bytes as they are.
//     To everything else it is an ordinary message.
//  5. Memory is bounded: the cache by bytes and entries, a reply by
//     MaxSendBytes, the number of replies being computed by MaxLoads and the
//     pool, connections, streams, requests and headers by their options. Filters
//     that match nothing are not cached.
//  6. No error tells a caller more than a SQLSTATE of what Postgres said.
//  7. A bad tokens file at Reload changes nothing.
//
// # Cache
//
// Keys print as "projects:ALL", "projects:Brazil", "news:Reuters",
// "finance:KRBN", "project:VCS-1", "nonstreaming_projects:Brazil". Calls with
// page_size, page_token or cache-control: no-cache go round the cache
// (carbond-cache: bypass). Callers who miss at the same time share one load; one
// who leaves does not end it for the others.
//
// # Sizes
//
// Most clients accept replies of 4 MiB unless told otherwise (some
// 50,000 projects), and report a larger one as RESOURCE_EXHAUSTED themselves: raise the
// client's limit, or use page_size. The server refuses a reply above
// MaxSendBytes with the reason REPLY_TOO_LARGE. A client that compresses its
// requests with gzip gets gzip back: for 5,000 sample projects 47 kB in place of
// 359 kB. A cached reply is compressed once, for the first that asks.
//
// # Access
//
// With a tokens file every call needs a bearer token, except grpc.health.v1:
// probes have none, and learn nothing but the health. Reflection and
// carbon.CarbonService need the scope read, every other service admin unless
// Options.ReadMethods names it. The rate limit counts a peer's address (the /64
// network of an IPv6 address; all of a unix socket's callers together) before
// its token, so that guessing is slow; health is not counted. A client
// certificate, where Options.TLS asks for one, is checked before all that.
//
// See DESIGN.md for the reasons.
package rpc
