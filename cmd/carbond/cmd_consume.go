package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// consumeFlags are those of `carbond consume`.
type consumeFlags struct {
	from, history, group, member, format string
	longest                              string
	max                                  uint64
	follow, tombstones, keys             bool
}

func cmdConsume(a *app) *cobra.Command {
	var (
		c *client.Client
		f consumeFlags
	)
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print the changes of topics, one JSON value a line",
		Long: "Prints the changes of one or more topics in commit order, one JSON value a line: Debezium's\n" +
			"envelope with the row's \"key\" as its last member (debezium), the plain row with \"op\", \"topic\",\n" +
			"\"offset\" and \"ts_ms\" (row), or what readers of Kafka Connect's JSON converter want: the envelope as\n" +
			"the \"payload\" beside its \"schema\" (connect), which is null in the shorter form (payload). It ends at the newest change, or waits for more with --follow, through restarts of the daemon.\n\n" +
			"With --group it goes on where the group stopped (--from is for a group's first time and for\n" +
			"reading again) and commits only what was written to standard output before. Another consumer of\n" +
			"the group ends this one.",
		Example: "  carbond consume carbon.public.news --from earliest --max 5 | jq .after.title\n" +
			"  carbond consume carbon.public.verra carbon.public.carbonmark --follow --format row\n" +
			"  carbond consume carbon.public.finance --group desk --follow >> finance.jsonl\n" +
			"  carbond consume carbon.public.news --from -1h",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return client.Usage(errors.New("TOPIC is missing (carbond topics lists them)"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(args, time.Now())
			if err != nil {
				return err
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			k := &consumer{app: a, api: pb.NewChangelogServiceClient(conn), req: req, flags: f}
			return c.Explain(k.run(cmd.Context()))
		},
	}
	c = client.Flags(cmd, version)
	cmd.ValidArgsFunction = completeTopics(c)
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "`PLACE` to begin: earliest, latest, an OFFSET, a TIME (RFC 3339 or a date) or an age such as -1h; default the group's place, else earliest")
	fl.StringVar(&f.history, "history", "", "`ID` of the history that an OFFSET is from (carbond topics --format jsonl): an error when it means something else here")
	fl.StringVar(&f.group, "group", "", "read as a member of this consumer group `NAME` and commit what was written")
	fl.StringVar(&f.member, "member", "", "`ID` of this consumer in its group; default host name and process")
	fl.Uint64Var(&f.max, "max", 0, "end after `N` changes")
	fl.StringVar(&f.longest, "skip-larger", "", "leave out changes with a longer value than `SIZE`, such as 4MiB, and name them on standard error")
	fl.BoolVar(&f.follow, "follow", false, "wait for new changes")
	fl.StringVarP(&f.format, "format", "f", "debezium", "`FORM`: debezium, row, connect (schema and payload) or payload (schema null)")
	client.Complete(cmd, "format", "debezium", "row", "connect", "payload")
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroups(c)) // the flag exists
	fl.BoolVar(&f.tombstones, "tombstones", false, "print null after each deletion, as Debezium's tombstones")
	fl.BoolVar(&f.keys, "keys", false, "print {\"key\":...,\"value\":...}, as Debezium's converter has them")
	return cmd
}

// request turns the command line into a call.
func (f *consumeFlags) request(topics []string, now time.Time) (*pb.ConsumeRequest, error) {
	if !slices.Contains([]string{"debezium", "row", "connect", "payload"}, f.format) {
		return nil, client.Usage(fmt.Errorf("unknown format %q: want debezium, row, connect or payload", f.format))
	}
	if f.member != "" && f.group == "" {
		return nil, client.Usage(errors.New("--member needs --group"))
	}
	req := &pb.ConsumeRequest{Topics: topicNames(topics), Group: f.group, Follow: f.follow, Format: f.format, History: f.history}
	if f.longest != "" {
		n, err := config.ParseSize(f.longest)
		if err != nil {
			return nil, client.Usage(fmt.Errorf("--skip-larger %w", err))
		}
		req.MaxValueBytes = uint64(n)
	}
	if f.group != "" {
		req.MemberId = f.member
		if req.MemberId == "" {
			host, _ := os.Hostname()
			req.MemberId = fmt.Sprintf("%s-%d", host, os.Getpid())
		}
	}
	if f.from == "" {
		if f.group == "" {
			req.Start = &pb.ConsumeRequest_Earliest{Earliest: true}
		}
		return req, nil
	}
	p, err := parsePlace("--from", f.from, now)
	if err != nil {
		return nil, err
	}
	switch {
	case p.earliest:
		req.Start = &pb.ConsumeRequest_Earliest{Earliest: true}
	case p.latest:
		req.Start = &pb.ConsumeRequest_Latest{Latest: true}
	case p.time != "":
		req.Start = &pb.ConsumeRequest_Time{Time: p.time}
	default:
		req.Start = &pb.ConsumeRequest_Offset{Offset: p.offset}
	}
	return req, nil
}

// topicNames lets a bare table name stand for its topic.
func topicNames(args []string) []string {
	out := make([]string, len(args))
	for i, t := range args {
		if out[i] = t; !strings.Contains(t, ".") {
			out[i] = change.TopicName(t)
		}
	}
	return out
}

// place is a place in the changelog as it is written on a command line.
type place struct {
	earliest, latest bool
	offset           uint64
	time             string // RFC 3339
}

func parsePlace(flag, s string, now time.Time) (p place, err error) {
	switch s {
	case "earliest":
		return place{earliest: true}, nil
	case "latest":
		return place{latest: true}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return place{offset: n}, nil
	}
	if t, ok := parseMoment(s, now); ok {
		return place{time: t.UTC().Format(time.RFC3339Nano)}, nil
	}
	return p, client.Usage(fmt.Errorf("%s %q is neither earliest, latest, an offset, an RFC 3339 time, a date nor an age such as -1h", flag, s))
}

// parseMoment reads a time: RFC 3339, a date (its beginning, UTC) or an age.
func parseMoment(s string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d < 0 {
		return now.Add(d), true
	}
	return time.Time{}, false
}

const (
	// commitEvery is the least time between commits of a consumer that follows.
	commitEvery = 500 * time.Millisecond
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
	show       *client.Progress
	back       client.Back
}

// errEnough ends a stream that has given all that was wanted.
var errEnough = errors.New("enough")

// run reads until the end. With --follow it comes back after the daemon did.
func (k *consumer) run(ctx context.Context) (err error) {
	k.w = bufio.NewWriterSize(k.out, 64<<10)
	k.show = k.progress()
	defer k.show.End()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if k.flags.follow {
		defer client.WatchPipe(ctx, k.out, func() { stop(errEnough) })()
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
			return client.Output(context.Cause(ctx))
		case err == nil || !k.flags.follow || !reached || !passing(err):
			return err
		}
		k.show.Note(fmt.Sprintf("%s; trying again", status.Convert(err).Message()))
		if !client.Pause(ctx, k.back.Next()) {
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
	return client.Passing(err) || status.Code(err) == codes.AlreadyExists
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
	silence := time.NewTimer(client.Silence)
	defer silence.Stop()
	for {
		select {
		case m := <-in:
			silence.Reset(client.Silence)
			k.back.Heard()
			err = k.message(m)
		case <-silence.C:
			err = client.ErrSilent
		case <-t.C:
			err = k.commit(ctx)
			k.show.Update(k.lines, k.bytes)
		case err = <-ended:
		}
		switch {
		case err == nil:
			continue
		case status.Code(err) == codes.Aborted, client.IsOutput(err):
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
		if n := r.GetValueBytes(); n > 0 {
			fmt.Fprintf(k.err, "skipped the change at offset %d of %s: %d bytes\n", r.GetOffset(), r.GetTopic(), n)
			continue
		}
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
		return client.Output(err)
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
		if err != nil && client.Reason(err) != rpcerr.ReasonBackwards {
			return err
		}
	}
	k.committed = k.next
	return nil
}
