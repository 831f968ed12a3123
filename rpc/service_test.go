package rpc_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// sample has the hard values in it: default values of proto3, negative zero,
// NaN, negative integers, an item above 127 bytes and one above 16 kB, text that
// is no UTF-8.
func sample() *data {
	detail := func(id, name, country string, vintage int32, supply float64) change.ProjectDetail {
		return change.ProjectDetail{
			Project:     change.Project{ProjectID: id, ProjectName: name, RegistryStatus: "ACTIVE", Country: country, Vintage: vintage, Supply: supply},
			ProjectLink: "https://example.org/" + id, ProjectSummary: "About " + id, Source: "verra+carbonmark",
		}
	}
	d := &data{
		offset: 42, lsn: 0x16_B374D848, base: 40, reads: new(atomic.Int64),
		projects: []change.ProjectDetail{
			detail("", "", "", 0, 0),
			detail("ACR-1", "Peatland", "Brazil", -3, math.Copysign(0, -1)),
			detail("GS-7", strings.Repeat("long ", 40), "Brazil", 2020, math.Inf(1)),
			detail("VCS-1", strings.Repeat("longer ", 4000), "Kenya", math.MaxInt32, 1.5),
			detail("VCS-2", "M\xffta Atl\u00e2ntica", "ALL", 2019, 1e300),
			{Project: change.Project{ProjectID: "VCS-3"}},
		},
		news: []change.NewsItem{
			{GUID: "g3", Title: "Third", Link: "l", Published: "Tue, 14 Nov 2023 22:13:20 +0000", Source: "Reuters", Summary: "s"},
			{GUID: "g2", Source: "BBC"},
			{GUID: "g1", Source: "Reuters"},
		},
		quotes: []change.Quote{
			{Ticker: "GRN", Price: -1, Volume: -5, MarketCap: math.NaN(), ChangePercent: math.Inf(-1), Timestamp: 1},
			{Ticker: "KRBN", Price: 31.5, Volume: math.MaxInt64, MarketCap: 3e8, ChangePercent: 0.1, Timestamp: 1_700_000_000},
			{Ticker: "ZERO"},
		},
	}
	vintage := func(v change.VintageSupply, unknown ...int) change.VintageSupply {
		for _, field := range unknown {
			v.Null.Set(field)
		}
		return v
	}
	d.projects[2].Vintages = []change.VintageSupply{
		vintage(change.VintageSupply{Vintage: -1, Issued: 5, Retired: math.Inf(1)}, 3),
		vintage(change.VintageSupply{}, 1, 2, 3, 4),
		vintage(change.VintageSupply{Vintage: 2020, Cancelled: 1}, 1, 2, 4),
	}
	return d
}

func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// known is a field that is absent without a value.
func known[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

func wantProjects(d *data, country string) *pb.ProjectResponse {
	r := new(pb.ProjectResponse)
	for _, p := range d.projects {
		if country == "" || p.Country == country {
			r.Items = append(r.Items, &pb.ProjectItem{
				ProjectId: p.ProjectID, ProjectName: clean(p.ProjectName), RegistryStatus: p.RegistryStatus,
				Country: p.Country, Vintage: p.Vintage, Supply: p.Supply,
				Registry: known(p.Registry), Methodology: known(p.Methodology), ProjectType: known(p.ProjectType), Region: known(p.Region),
			})
			if !p.Null.Has(slices.Index(change.Projects.Names(), "price_usd")) {
				r.Items[len(r.Items)-1].PriceUsd = &p.PriceUSD
			}
			if !p.Null.Has(slices.Index(change.Projects.Names(), "has_supply")) {
				r.Items[len(r.Items)-1].HasSupply = &p.HasSupply
			}
		}
	}
	return r
}

func wantNews(d *data, source string) *pb.NewsResponse {
	r := new(pb.NewsResponse)
	for _, n := range d.news {
		if (source == "" || n.Source == source) && len(r.Items) < change.NewsLimit {
			r.Items = append(r.Items, &pb.NewsItem{Guid: n.GUID, Title: n.Title, Link: n.Link, Published: n.Published, Source: n.Source, Summary: n.Summary})
		}
	}
	return r
}

func wantFinance(d *data, ticker string) *pb.FinanceResponse {
	r := new(pb.FinanceResponse)
	for _, q := range d.quotes {
		if ticker == "" || q.Ticker == ticker {
			r.Items = append(r.Items, &pb.FinanceItem{Ticker: q.Ticker, Price: q.Price, Volume: q.Volume, MarketCap: q.MarketCap, ChangePercent: q.ChangePercent, Timestamp: q.Timestamp})
			r.Count++
		}
	}
	return r
}

func same(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) { // NaN equals NaN there
		t.Errorf("reply differs\n got %v\nwant %v", got, want)
	}
}

func TestAnswers(t *testing.T) {
	d := sample()
	c, conn := serve(t, newReader(d), rpc.Options{})
	ctx := t.Context()
	for range 2 { // miss, then hit
		for _, f := range []string{"", "Brazil", "ALL", "brazil", "Nowhere"} {
			for _, call := range []string{"GetProjects", "GetNonStreamingProjects"} {
				got := new(pb.ProjectResponse)
				if err := conn.Invoke(ctx, "/carbon.CarbonService/"+call, &pb.ProjectQuery{Country: f}, got); err != nil {
					t.Fatal(err)
				}
				same(t, got, wantProjects(d, f))
			}
		}
		for _, f := range []string{"", "Reuters", "reuters"} {
			got, err := c.GetNews(ctx, &pb.NewsQuery{Source: f})
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, wantNews(d, f))
		}
		for _, f := range []string{"", "KRBN", "ZERO", "none"} {
			got, err := c.GetFinanceData(ctx, &pb.FinanceQuery{Ticker: f}, grpc.UseCompressor(gzip.Name))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, wantFinance(d, f))
		}
		got, err := c.GetProjectDetail(ctx, &pb.ProjectDetailQuery{ProjectId: "GS-7"})
		if err != nil {
			t.Fatal(err)
		}
		p := d.projects[2]
		n := func(v float64) *float64 { return &v }
		same(t, got, &pb.ProjectDetailResponse{Project: &pb.ProjectDetail{
			ProjectId: p.ProjectID, ProjectName: p.ProjectName, ProjectLink: p.ProjectLink, ProjectSummary: p.ProjectSummary,
			RegistryStatus: p.RegistryStatus, Country: p.Country, Vintage: p.Vintage, Supply: p.Supply, Source: p.Source,
			PriceUsd: new(float64), HasSupply: new(bool), AnnualEstimate: new(float64), Latitude: new(float64), Longitude: new(float64), // 0 is not NULL
			Vintages: []*pb.VintageSupply{{Vintage: -1, Issued: n(5), Retired: n(math.Inf(1)), Available: new(float64)}, {}, {Vintage: 2020, Cancelled: n(1)}},
		}})
	}
}

// rawOf makes a call and returns the bytes of the reply as they came.
func rawOf(t *testing.T, conn *grpc.ClientConn, method string, q proto.Message) []byte {
	t.Helper()
	var b []byte
	if err := conn.Invoke(t.Context(), method, q, &b, grpc.ForceCodecV2(rawClient{})); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBytes holds the hand-written encoding against the generated one.
func TestBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func() string {
		return strings.Repeat("é", r.IntN(3)*r.IntN(80)) + strings.Repeat("x", r.IntN(200)*r.IntN(2))
	}
	for range 50 {
		d := &data{base: 1}
		for i := range r.IntN(30) {
			d.projects = append(d.projects, change.ProjectDetail{Project: change.Project{
				ProjectID: fmt.Sprintf("%03d", i) + text(), ProjectName: text(), RegistryStatus: text(), Country: text(),
				Vintage: int32(r.Uint32()) * int32(r.IntN(2)), Supply: r.NormFloat64() * float64(r.IntN(2)),
				Registry: text(), Methodology: text(), ProjectType: text(), Region: text(), PriceUSD: r.NormFloat64() * float64(r.IntN(2)),
				HasSupply: r.IntN(2) == 0, Null: change.Nulls(r.Uint64()),
			}})
			d.news = append(d.news, change.NewsItem{GUID: text(), Title: text(), Link: text(), Published: text(), Source: text(), Summary: text()})
			d.quotes = append(d.quotes, change.Quote{Ticker: fmt.Sprintf("%03d", i), Price: r.NormFloat64(), Volume: int64(r.Uint64()) * int64(r.IntN(2)), Timestamp: r.Int64()})
		}
		_, conn := serve(t, newReader(d), rpc.Options{})
		for method, want := range map[string]struct{ q, m proto.Message }{
			"GetProjects":    {new(pb.ProjectQuery), wantProjects(d, "")},
			"GetNews":        {new(pb.NewsQuery), wantNews(d, "")},
			"GetFinanceData": {new(pb.FinanceQuery), wantFinance(d, "")},
		} {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(want.m)
			if err != nil {
				t.Fatal(err)
			}
			if got := rawOf(t, conn, "/carbon.CarbonService/"+method, want.q); !slices.Equal(got, b) {
				t.Fatalf("%s: %d bytes that differ from the %d of proto.Marshal", method, len(got), len(b))
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	d := sample()
	r := newReader(d)
	c, _ := serve(t, r, rpc.Options{Age: func() time.Duration { return 1234 * time.Millisecond }})
	call := func(kv ...string) metadata.MD {
		t.Helper()
		var h metadata.MD
		if _, err := c.GetProjects(metadata.AppendToOutgoingContext(t.Context(), kv...), new(pb.ProjectQuery), grpc.Header(&h)); err != nil {
			t.Fatal(err)
		}
		return h
	}
	check := func(h metadata.MD, offset, cache string) {
		t.Helper()
		for k, v := range map[string]string{rpc.HeaderOffset: offset, rpc.HeaderLSN: "16/B374D848", rpc.HeaderAge: "1234", rpc.HeaderCache: cache} {
			if got := h.Get(k); len(got) != 1 || got[0] != v {
				t.Errorf("%s: %q, want %q", k, got, v)
			}
		}
	}
	check(call(), "42", "miss")
	check(call(), "42", "hit")
	check(call("cache-control", "max-age=0, No-Cache"), "42", "bypass")
	next := *d
	next.offset = 99 // a change elsewhere: the answer is the same, the position moves on
	r.set(&next)
	check(call(), "99", "hit")
	next.base = 99
	r.set(&next)
	check(call(), "99", "miss")
}

func wantStatus(t *testing.T, err error, code codes.Code, detail string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code {
		t.Fatalf("status %v: %s; want %v", st.Code(), st.Message(), code)
	}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			if len(d.FieldViolations) == 1 && d.FieldViolations[0].Field == detail {
				return
			}
		case *errdetails.ErrorInfo:
			if d.Reason == detail && d.Domain == rpcerr.Domain {
				return
			}
		}
	}
	t.Fatalf("status %v %q has no detail %q: %v", st.Code(), st.Message(), detail, st.Details())
}

func retryInfo(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestBadQueries(t *testing.T) {
	c, _ := serve(t, newReader(sample()), rpc.Options{})
	long := strings.Repeat("x", 1025)
	for name, tc := range map[string]struct {
		call  func() error
		field string
	}{
		"long country": {func() error { _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{Country: long}); return err }, "country"},
		"zero byte":    {func() error { _, err := c.GetNews(t.Context(), &pb.NewsQuery{Source: "a\x00"}); return err }, "source"},
		"long ticker": {func() error {
			_, err := c.GetNonStreamingFinanceData(t.Context(), &pb.FinanceQuery{Ticker: long})
			return err
		}, "ticker"},
		"negative size": {func() error { _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{PageSize: -1}); return err }, "page_size"},
		"garbage token": {func() error { _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{PageToken: "!"}); return err }, "page_token"},
		"empty id":      {func() error { _, err := c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{}); return err }, "project_id"},
		"long id": {func() error {
			_, err := c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{ProjectId: long})
			return err
		}, "project_id"},
		"min-lsn": {func() error {
			_, err := c.GetNews(metadata.AppendToOutgoingContext(t.Context(), rpc.HeaderMinLSN, "x"), new(pb.NewsQuery))
			return err
		}, rpc.HeaderMinLSN},
		"min-lsn number": {func() error {
			_, err := c.GetNews(metadata.AppendToOutgoingContext(t.Context(), rpc.HeaderMinLSN, "17"), new(pb.NewsQuery))
			return err
		}, rpc.HeaderMinLSN},
	} {
		t.Run(name, func(t *testing.T) { wantStatus(t, tc.call(), codes.InvalidArgument, tc.field) })
	}
	_, err := c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{ProjectId: "nope"})
	wantStatus(t, err, codes.NotFound, rpcerr.ReasonNoSuchProject)
}

func TestAsOf(t *testing.T) {
	c, _ := serve(t, newReader(sample()), rpc.Options{})
	_, err := c.GetProjects(t.Context(), &pb.ProjectQuery{AsOfOffset: 1})
	wantStatus(t, err, codes.Unimplemented, rpcerr.ReasonAsOf)
	_, err = c.GetNonStreamingNews(t.Context(), &pb.NewsQuery{AsOfTime: "2026-01-01T00:00:00Z"})
	wantStatus(t, err, codes.InvalidArgument, "as_of_time")
}

func TestNotLoaded(t *testing.T) {
	r := newReader(nil)
	c, _ := serve(t, r, rpc.Options{})
	_, err := c.GetProjects(t.Context(), new(pb.ProjectQuery))
	wantStatus(t, err, codes.Unavailable, rpcerr.ReasonNotLoaded)
	if retryInfo(err) <= 0 {
		t.Error("no RetryInfo")
	}
	_, err = c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{ProjectId: "x"})
	wantStatus(t, err, codes.Unavailable, rpcerr.ReasonNotLoaded)
}

// raw sends bytes as a request.
type raw struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// TestMalformed sends what is no message: that is the caller's fault.
func TestMalformed(t *testing.T) {
	l := newFakeLog(10)
	_, conn := serve(t, newReader(sample()), rpc.Options{Changelog: l})
	codec := grpc.ForceCodecV2(raw{encoding.GetCodecV2("proto")})
	for name, b := range map[string]string{
		"text that is not UTF-8": "\x0a\x03\xff\xfe\xfd", "cut short": "\x0a\xff", "a tag of no field": "\x07", "field 0": "\x00\x01",
		"a group that does not end": "\x0b", "a number without end": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			err := conn.Invoke(t.Context(), pb.CarbonService_GetProjects_FullMethodName, []byte(b), new(pb.ProjectResponse), codec)
			wantStatus(t, err, codes.InvalidArgument, rpcerr.ReasonMalformed)
			ss, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, pb.ChangelogService_Consume_FullMethodName, codec)
			if err == nil {
				err = errors.Join(ss.SendMsg([]byte(b)), ss.CloseSend())
			}
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, ss.RecvMsg(new(pb.ConsumeResponse)), codes.InvalidArgument, rpcerr.ReasonMalformed)
		})
	}
}
