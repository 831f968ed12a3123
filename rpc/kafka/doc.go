// Package kafka lets Kafka's clients read the changelog: it speaks the part of
// Kafka's protocol that consumers use, as if it were a cluster of one broker whose
// topics have one partition each and cannot be written to.
//
//	s, err := kafka.New(log, kafka.Options{Version: version})
//	err = s.Serve(ctx, listener) // blocks until ctx ends
//
// # What stands for what
//
//	Kafka                    carbond
//	topic                    topic of the changelog, one partition
//	offset                   number of a message of the topic, see store/messages.go: dense,
//	                         a deletion is two messages, it and its tombstone
//	key, value               as `carbond consume` prints them in the format of the listener
//	timestamp                commit time of the transaction
//	headers                  offset (of the changelog), lsn, txid
//	topic id, cluster id     from the first history of the data: a new directory has others
//	leader epoch             0, and behind each restore from a backup a greater number that tells its
//	                         time, so that two restores of one backup are told apart
//	group                    group of the changelog; while Kafka's members hold it, nobody
//	                         else joins
//
// # Invariants
//
//  1. The same offset of the same topic id and epoch is the same record for ever, and
//     has the same bytes while format and version of carbond stay.
//  2. A batch ends below the high watermark of the answer that it comes with.
//  3. A committed offset is on disk before it is answered.
//  4. Memory is bounded: connections, request sizes, the batches that are kept, those
//     on their way to clients, cursors, groups and members. A client that takes
//     nothing holds one batch at most once 16 MiB are on their way.
//
// The protocol: https://kafka.apache.org/protocol. The codec of its messages is
// franz-go's kmsg; record batches are written here, since a batch is encoded once and
// sent to everybody.
package kafka
