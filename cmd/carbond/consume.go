package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
)

const (
	// commitEvery is the least time between commits of a consumer that follows.
	commitEvery = 500 * time.Millisecond
	// comeBack is the wait before a follower calls a daemon again that went away.
	comeBack = time.Second
	// lastWords is how long the commit of an ending consumer may take.
	lastWords = 5 * time.Second
)

// consumer prints a Consume stream.
type consumer struct {
	*app
	api   pb.ChangelogServiceClient
	req   *pb.ConsumeRequest
	flags consumeFlags

	w          *bufio.Writer
	generation uint64
	next       uint64 // everything before it is written
	committed  uint64 // next when it was last committed
	lines      uint64 // changes written
	bytes      int64
	show       *progress
}

// errEnough ends a stream that has given all that was wanted.
var errEnough = errors.New("enough")

// run reads until the end. With --follow it comes back after the daemon did.
func (k *consumer) run(ctx context.Context) (err error) {
	k.w = bufio.NewWriterSize(k.out, 64<<10)
	k.show = newProgress(k.app)
	defer k.show.end()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if k.flags.follow {
		defer watchPipe(ctx, k.out, func() { stop(errEnough) })()
	}
	for reached := false; ; {
		seen := k.generation
		err = k.stream(ctx)
		reached = reached || k.next > 0 || k.generation != seen
		switch {
		case errors.Is(err, errEnough), errors.Is(context.Cause(ctx), errEnough):
			return nil
		case ctx.Err() != nil && k.flags.follow:
			return nil // a signal is how a follower ends
		case ctx.Err() != nil:
			return outputError{context.Cause(ctx)}
		case err == nil || !k.flags.follow || !reached || !passing(err):
			return err
		}
		k.show.note(fmt.Sprintf("%s; trying again", status.Convert(err).Message()))
		if !pause(ctx, comeBack) {
			continue
		}
		if k.next > 0 {
			k.req.Start = &pb.ConsumeRequest_Offset{Offset: k.next}
		}
	}
}

// passing reports whether a follower may try again. The old stream of this very
// member may still be open on the other side of a broken connection.
func passing(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.AlreadyExists
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stream prints one stream to its end.
func (k *consumer) stream(ctx context.Context) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ss, err := k.api.Consume(sctx, k.req)
	if err != nil {
		return err
	}
	in := make(chan *pb.ConsumeResponse)
	ended := make(chan error, 1)
	go func() {
		for {
			m, err := ss.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case in <- m:
			case <-sctx.Done():
				ended <- sctx.Err()
				return
			}
		}
	}()
	t := time.NewTicker(commitEvery)
	defer t.Stop()
	for {
		select {
		case m := <-in:
			err = k.message(m)
		case <-t.C:
			err = k.commit(ctx)
			k.show.update(k.lines, k.bytes)
		case err = <-ended:
		}
		switch {
		case err == nil:
			continue
		case status.Code(err) == codes.Aborted, isOutput(err):
			return err // another consumer took over, or nobody reads: nothing to commit
		}
		last, done := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer done()
		if cerr := k.commit(last); cerr != nil && (errors.Is(err, io.EOF) || errors.Is(err, errEnough)) {
			return cerr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}

// message writes the records of a message out.
func (k *consumer) message(m *pb.ConsumeResponse) error {
	if h := m.GetHistory(); h != "" {
		k.req.History = h
	}
	if m.GetGeneration() != 0 {
		k.generation = m.GetGeneration()
	}
	for _, r := range m.GetRecords() {
		k.line(r.GetKeyJson(), r.GetValueJson())
		if k.flags.tombstones && r.GetOp() == "d" {
			k.line(r.GetKeyJson(), nil)
		}
		if k.lines++; k.lines == k.flags.max {
			if err := k.flush(); err != nil {
				return err
			}
			k.next = r.GetOffset() + 1
			return errEnough
		}
	}
	if err := k.flush(); err != nil {
		return err
	}
	k.next = m.GetNextOffset()
	return nil
}

func (k *consumer) flush() error {
	if err := k.w.Flush(); err != nil {
		return outputError{err}
	}
	return nil
}

// line writes one line; bufio keeps the first error for flush.
func (k *consumer) line(key, value []byte) {
	if len(key) == 0 {
		key = []byte("null")
	}
	if value == nil {
		value = []byte("null")
	}
	n := len(value) + 1
	beside := !k.flags.keys && k.flags.format == "debezium" && bytes.HasSuffix(value, []byte("}"))
	if k.flags.keys {
		_, _ = k.w.WriteString(`{"key":`)
		_, _ = k.w.Write(key)
		_, _ = k.w.WriteString(`,"value":`)
		n += len(key) + len(`{"key":,"value":}`)
	}
	if beside { // who reads the envelope does not mind one member more
		value = value[:len(value)-1]
	}
	_, _ = k.w.Write(value)
	if beside {
		_, _ = k.w.WriteString(`,"key":`)
		_, _ = k.w.Write(key)
		n += len(key) + len(`,"key":`)
	}
	if beside || k.flags.keys {
		_ = k.w.WriteByte('}')
	}
	_ = k.w.WriteByte('\n')
	k.bytes += int64(n)
}

// commit stores for every topic that the group has dealt with what was written.
// A group that is further already, as after --from earliest, stays there.
func (k *consumer) commit(ctx context.Context) error {
	if k.flags.group == "" || k.next <= k.committed || k.next <= 1 {
		return nil
	}
	for _, t := range k.req.Topics {
		_, err := k.api.CommitOffset(ctx, &pb.CommitOffsetRequest{
			Group: k.flags.group, Topic: t, Offset: k.next - 1, Generation: k.generation, MemberId: k.req.MemberId,
			History: k.req.History,
		})
		if err != nil && reason(err) != rpc.ReasonBackwards {
			return err
		}
	}
	k.committed = k.next
	return nil
}

// reason returns the reason in a status' details, "" for none.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return ""
}

func isOutput(err error) bool {
	var out outputError
	return errors.As(err, &out)
}
