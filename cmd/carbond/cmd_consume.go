package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// consumeFlags are those of `carbond consume`.
type consumeFlags struct {
	from, history, group, member, format string
	max                                  uint64
	follow, tombstones, keys             bool
}

func (a *app) cmdConsume() *cobra.Command {
	var (
		c *client
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
				return usageError{errors.New("TOPIC is missing (carbond topics lists them)")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(args, time.Now())
			if err != nil {
				return err
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			k := &consumer{app: a, api: pb.NewChangelogServiceClient(conn), req: req, flags: f}
			return c.explain(k.run(cmd.Context()))
		},
	}
	c = addClientFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "`PLACE` to begin: earliest, latest, an OFFSET, a TIME (RFC 3339 or a date) or an age such as -1h; default the group's place, else earliest")
	fl.StringVar(&f.history, "history", "", "`ID` of the history that an OFFSET is from (carbond topics --format jsonl): an error when it means something else here")
	fl.StringVar(&f.group, "group", "", "read as a member of this consumer group `NAME` and commit what was written")
	fl.StringVar(&f.member, "member", "", "`ID` of this consumer in its group; default host name and process")
	fl.Uint64Var(&f.max, "max", 0, "end after `N` changes")
	fl.BoolVar(&f.follow, "follow", false, "wait for new changes")
	fl.StringVarP(&f.format, "format", "f", "debezium", "`FORM`: debezium, row, connect (schema and payload) or payload (schema null)")
	fl.BoolVar(&f.tombstones, "tombstones", false, "print null after each deletion, as Debezium's tombstones")
	fl.BoolVar(&f.keys, "keys", false, "print {\"key\":...,\"value\":...}, as Debezium's converter has them")
	return cmd
}

// request turns the command line into a call.
func (f *consumeFlags) request(topics []string, now time.Time) (*pb.ConsumeRequest, error) {
	if !slices.Contains([]string{"debezium", "row", "connect", "payload"}, f.format) {
		return nil, usageError{fmt.Errorf("unknown format %q: want debezium, row, connect or payload", f.format)}
	}
	if f.member != "" && f.group == "" {
		return nil, usageError{errors.New("--member needs --group")}
	}
	req := &pb.ConsumeRequest{Topics: topicNames(topics), Group: f.group, Follow: f.follow, Format: f.format, History: f.history}
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
			out[i] = change.Topic(t)
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
	return p, usageError{fmt.Errorf("%s %q is neither earliest, latest, an offset, an RFC 3339 time, a date nor an age such as -1h", flag, s)}
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
