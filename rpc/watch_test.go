package rpc_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// TestWatchEncoding compares the hand-written encoders with the generated
// messages, through the codec and back.
func TestWatchEncoding(t *testing.T) {
	long := strings.Repeat("l\u00f6ng ", 5000)
	when := time.UnixMicro(1_700_000_000_123_456)
	projects := []change.Project{{}, {ProjectID: "VCS-1", ProjectName: long, Country: "Peru", Vintage: -4, Supply: math.Copysign(0, -1)}}
	news := []change.NewsItem{{}, {GUID: "g", Title: "t\xff", Link: "l", Published: "p", Source: "s", Summary: long}}
	quotes := []change.Quote{{}, {Ticker: "A", Price: math.NaN(), Volume: math.MinInt64, MarketCap: math.Inf(1), ChangePercent: -1, Timestamp: 7}}
	head := func(p rpc.Place) *pb.WatchHead {
		return &pb.WatchHead{
			Kind: pb.WatchKind_WATCH_KIND_CHANGES, Offset: uint64(p.Offset), Lsn: p.LSN.String(),
			CommitTimeMs: 1_700_000_000_123, ResumeToken: "tok", SnapshotEnd: true,
		}
	}
	place := rpc.Place{Offset: 1<<63 + 5, LSN: 0x16_B374D848, CommitTime: when}
	for i, diff := range []int8{1, -1} {
		p, n, q := projects[i], news[i], quotes[i]
		for name, tc := range map[string]struct {
			view  change.View
			delta change.Delta
			want  proto.Message
		}{
			"projects": {change.ViewProjects, change.Delta{Diff: diff, Project: &p}, &pb.WatchProjectsResponse{
				Head: head(place), Deltas: []*pb.ProjectDelta{{Diff: int32(diff), Item: &pb.ProjectItem{
					ProjectId: p.ProjectID, ProjectName: p.ProjectName, RegistryStatus: p.RegistryStatus, Country: p.Country, Vintage: p.Vintage, Supply: p.Supply,
				}}},
			}},
			"news": {change.ViewNews, change.Delta{Diff: diff, News: &n, Window: "s"}, &pb.WatchNewsResponse{
				Head: head(place), Deltas: []*pb.NewsDelta{{Diff: int32(diff), Item: &pb.NewsItem{
					Guid: n.GUID, Title: clean(n.Title), Link: n.Link, Published: n.Published, Source: n.Source, Summary: n.Summary,
				}}},
			}},
			"finance": {change.ViewFinance, change.Delta{Diff: diff, Quote: &q}, &pb.WatchFinanceDataResponse{
				Head: head(place), Deltas: []*pb.FinanceDelta{{Diff: int32(diff), Item: &pb.FinanceItem{
					Ticker: q.Ticker, Price: q.Price, Volume: q.Volume, MarketCap: q.MarketCap, ChangePercent: q.ChangePercent, Timestamp: q.Timestamp,
				}}},
			}},
		} {
			raw, err := rpc.MarshalWatch(tc.view, pb.WatchKind_WATCH_KIND_CHANGES, place, "tok", true, &tc.delta)
			if err != nil {
				t.Fatal(err)
			}
			got := tc.want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(raw, got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			same(t, got, tc.want)
			if n := len(got.ProtoReflect().GetUnknown()); n > 0 {
				t.Errorf("%s: %d bytes of unknown fields", name, n)
			}
		}
	}
}

// TestWatchWithoutHistory: a server that keeps none says so.
func TestWatchWithoutHistory(t *testing.T) {
	c, _ := serve(t, newReader(sample()), rpc.Options{})
	s, err := c.WatchNews(t.Context(), &pb.WatchNewsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unimplemented, rpc.ReasonAsOf)
}

func TestWatchNeedsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write(t, file, []byte("ui read 0123456789abcdef\n"))
	c, _ := serve(t, newReader(sample()), rpc.Options{TokensFile: file})
	s, err := c.WatchProjects(t.Context(), &pb.WatchProjectsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unauthenticated, rpc.ReasonTokenMissing)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer 0123456789abcdef")
	if s, err = c.WatchProjects(ctx, &pb.WatchProjectsRequest{}); err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unimplemented, rpc.ReasonAsOf) // past the guard
}

// FuzzResumeToken: whatever a client sends is refused or is exactly a token that
// this server makes.
func FuzzResumeToken(f *testing.F) {
	f.Add("projects", "Peru", rpc.EncodePlace("projects", "Peru", rpc.Place{Offset: 7, LSN: 99, CommitTime: time.UnixMicro(5), History: "b3bc04bd-cd18-4385-ad08-b58d3ec122a1"}))
	f.Add("news", "", rpc.EncodePlace("news", "", rpc.Place{}))
	f.Add("finance", "A", rpc.EncodePlace("finance", "A", rpc.Place{Offset: 1 << 63, LSN: math.MaxUint64, CommitTime: time.UnixMicro(-1)}))
	f.Add("projects", "", rpc.EncodeToken("watch projects", "", []byte{1, 2}))
	f.Add("projects", "", rpc.EncodeToken("watch projects", "", []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x00\x00")))
	f.Add("projects", "", rpc.EncodeToken("projects", "", []byte{1, 2, 3}))
	f.Add("projects", "", "")
	f.Fuzz(func(t *testing.T, view, filter, token string) {
		// Also past the checksum, which the fuzzer cannot guess.
		for _, tok := range []string{token, rpc.EncodeToken("watch "+view, filter, []byte(token))} {
			p, err := rpc.DecodePlace(view, filter, tok)
			if err != nil {
				continue
			}
			if again := rpc.EncodePlace(view, filter, p); again != tok {
				t.Fatalf("%q is read as %+v, which is %q", tok, p, again)
			}
			if _, err := rpc.DecodePlace(view, filter+"x", tok); err == nil {
				t.Fatal("the token works with another filter")
			}
		}
	})
}
