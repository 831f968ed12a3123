package watch_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/watch"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// TestEncoding compares the hand-written encoders with the generated
// messages, through the codec and back.
func TestEncoding(t *testing.T) {
	long := strings.Repeat("l\u00f6ng ", 5000)
	when := time.UnixMicro(1_700_000_000_123_456)
	noPrice := change.Nulls(1 << slices.Index(change.Projects.Names(), "price_usd"))
	projects := []change.Project{{Null: noPrice}, {PriceUSD: 2.5, HasSupply: true, ProjectID: "VCS-1", ProjectName: long, Country: "Peru", Vintage: -4, Supply: math.Copysign(0, -1)}}
	news := []change.NewsItem{{}, {GUID: "g", Title: "t\xff", Link: "l", Published: "p", Source: "s", Summary: long}}
	quotes := []change.Quote{{}, {Ticker: "A", Price: math.NaN(), Volume: math.MinInt64, MarketCap: math.Inf(1), ChangePercent: -1, Timestamp: 7}}
	head := func(p watch.Place) *pb.WatchHead {
		return &pb.WatchHead{
			Kind: pb.WatchKind_WATCH_KIND_CHANGES, Offset: uint64(p.Offset), Lsn: p.LSN.String(),
			CommitTimeMs: 1_700_000_000_123, ResumeToken: "tok", SnapshotEnd: true,
		}
	}
	place := watch.Place{Offset: 1<<63 + 5, LSN: 0x16_B374D848, CommitTime: when}
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
					PriceUsd: map[bool]*float64{true: &p.PriceUSD}[p.Null == 0], HasSupply: &p.HasSupply,
				}}},
			}},
			"news": {change.ViewNews, change.Delta{Diff: diff, News: &n, Window: "s"}, &pb.WatchNewsResponse{
				Head: head(place), Deltas: []*pb.NewsDelta{{Diff: int32(diff), Item: &pb.NewsItem{
					Guid: n.GUID, Title: strings.ToValidUTF8(n.Title, "\uFFFD"), Link: n.Link, Published: n.Published, Source: n.Source, Summary: n.Summary,
				}}},
			}},
			"finance": {change.ViewFinance, change.Delta{Diff: diff, Quote: &q}, &pb.WatchFinanceDataResponse{
				Head: head(place), Deltas: []*pb.FinanceDelta{{Diff: int32(diff), Item: &pb.FinanceItem{
					Ticker: q.Ticker, Price: q.Price, Volume: q.Volume, MarketCap: q.MarketCap, ChangePercent: q.ChangePercent, Timestamp: q.Timestamp,
				}}},
			}},
		} {
			raw, err := watch.Marshal(tc.view, pb.WatchKind_WATCH_KIND_CHANGES, place, "tok", true, &tc.delta)
			if err != nil {
				t.Fatal(err)
			}
			got := tc.want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(raw, got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !proto.Equal(got, tc.want) {
				t.Errorf("%s: got %v, want %v", name, got, tc.want)
			}
			if n := len(got.ProtoReflect().GetUnknown()); n > 0 {
				t.Errorf("%s: %d bytes of unknown fields", name, n)
			}
		}
	}
}

// FuzzResumeToken: whatever a client sends is refused or is exactly a token that
// this server makes.
func FuzzResumeToken(f *testing.F) {
	f.Add("projects", "Peru", watch.EncodePlace("projects", "Peru", watch.Place{Offset: 7, LSN: 99, CommitTime: time.UnixMicro(5), History: "b3bc04bd-cd18-4385-ad08-b58d3ec122a1"}))
	f.Add("news", "", watch.EncodePlace("news", "", watch.Place{}))
	f.Add("finance", "A", watch.EncodePlace("finance", "A", watch.Place{Offset: 1 << 63, LSN: math.MaxUint64, CommitTime: time.UnixMicro(-1)}))
	f.Add("projects", "", wire.EncodeToken("watch projects", "", []byte{1, 2}))
	f.Add("projects", "", wire.EncodeToken("watch projects", "", []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x00\x00")))
	f.Add("projects", "", wire.EncodeToken("projects", "", []byte{1, 2, 3}))
	f.Add("projects", "", "")
	f.Fuzz(func(t *testing.T, view, filter, token string) {
		// Also past the checksum, which the fuzzer cannot guess.
		for _, tok := range []string{token, wire.EncodeToken("watch "+view, filter, []byte(token))} {
			p, err := watch.DecodePlace(view, filter, tok)
			if err != nil {
				continue
			}
			if again := watch.EncodePlace(view, filter, p); again != tok {
				t.Fatalf("%q is read as %+v, which is %q", tok, p, again)
			}
			if _, err := watch.DecodePlace(view, filter+"x", tok); err == nil {
				t.Fatal("the token works with another filter")
			}
		}
	})
}
