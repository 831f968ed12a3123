package rpc

import (
	"context"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/debezium"
	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// groupColumns are the columns that totals are by.
var groupColumns = map[pb.TotalsGroup]string{
	pb.TotalsGroup_TOTALS_GROUP_UNSPECIFIED: "country", pb.TotalsGroup_TOTALS_GROUP_ALL: "", pb.TotalsGroup_TOTALS_GROUP_COUNTRY: "country",
	pb.TotalsGroup_TOTALS_GROUP_STATUS: "registry_status", pb.TotalsGroup_TOTALS_GROUP_VINTAGE: "vintage", pb.TotalsGroup_TOTALS_GROUP_TYPE: "project_type",
	pb.TotalsGroup_TOTALS_GROUP_REGISTRY: "registry", pb.TotalsGroup_TOTALS_GROUP_METHODOLOGY: "methodology", pb.TotalsGroup_TOTALS_GROUP_SOURCE: "source",
}

// now returns the version of the views that answers a call as of a moment, or now.
func (c *core) now(ctx context.Context, at asOf) (change.ViewSnapshot, error) {
	if at.set() {
		if err := c.checkAsOf(projects, at); err != nil {
			return nil, err
		}
	}
	if _, err := c.conditions(ctx); err != nil {
		return nil, err
	}
	r := reading{snap: c.reader.Snapshot()}
	if at.set() {
		err := c.readPast(ctx, &r, at)
		return r.snap, err
	}
	if r.snap == nil {
		return nil, rpcerr.NotLoaded()
	}
	return r.snap, nil
}

// GetTotals implements carbon.CarbonService.
func (s service) GetTotals(ctx context.Context, q *pb.GetTotalsRequest) (*pb.GetTotalsResponse, error) {
	by, ok := groupColumns[q.By]
	if !ok {
		return nil, rpcerr.BadField("by", "is not one of the groups")
	}
	lsn, err := wantedLSN(ctx, HeaderAtLSN)
	if err != nil {
		return nil, err
	}
	snap, err := s.now(ctx, asOf{q.AsOfOffset, q.AsOfTime, lsn})
	if err != nil {
		return nil, err
	}
	totals := snap.Totals(by)
	if totals == nil {
		return nil, rpcerr.BadField("by", "needs the column "+by+", which this version of carbond does not have")
	}
	out := &pb.GetTotalsResponse{}
	for t := range totals {
		m := &pb.Total{Group: strings.ToValidUTF8(t.Group, "\uFFFD")}
		if by == "source" {
			m.News = t.Rows
		} else {
			m.Projects, m.Supply = t.Rows, t.Supply
			m.SupplyUnknown, m.SupplyNan, m.SupplyInfinite = t.Unknown, t.NaN, t.Infinite
		}
		out.Items = append(out.Items, m)
	}
	s.header(ctx, snap, bypass)
	return out, nil
}

// buckets are the spans of time, in seconds.
var buckets = map[pb.PriceBucket]int64{
	pb.PriceBucket_PRICE_BUCKET_UNSPECIFIED: 0, pb.PriceBucket_PRICE_BUCKET_RAW: 0,
	pb.PriceBucket_PRICE_BUCKET_1M: 60, pb.PriceBucket_PRICE_BUCKET_1H: 3600, pb.PriceBucket_PRICE_BUCKET_1D: 86400,
}

// GetPriceHistory implements carbon.CarbonService.
func (s service) GetPriceHistory(ctx context.Context, q *pb.GetPriceHistoryRequest) (*pb.GetPriceHistoryResponse, error) {
	span, ok := buckets[q.Bucket]
	if !ok {
		return nil, rpcerr.BadField("bucket", "is not one of the spans")
	}
	if q.Ticker == "" {
		return nil, rpcerr.BadField("ticker", "is empty")
	}
	if err := rpcerr.CheckText("ticker", q.Ticker); err != nil {
		return nil, err
	}
	from, err := seconds("from", q.From, math.MinInt64)
	if err != nil {
		return nil, err
	}
	to, err := seconds("to", q.To, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if q.To != "" && to > math.MinInt64 {
		to-- // which is not included
	}
	size, after, err := s.cutPage("price history", q.Ticker+"\x00"+q.Bucket.String()+q.From+"\x00"+q.To, q.PageSize, q.PageToken, s.opt.MaxPageSize)
	if err != nil {
		return nil, err
	}
	if after != nil {
		from = int64(*after)
	}
	snap, err := s.now(ctx, asOf{})
	if err != nil {
		return nil, err
	}
	out := &pb.GetPriceHistoryResponse{}
	n := 0
	for row := range snap.Prices(q.Ticker, from, to) {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return nil, rpcerr.FromContext(ctx.Err())
		}
		at := row.Timestamp
		if span > 0 {
			at -= (at%span + span) % span
		}
		if len(out.Items) > 0 && span > 0 {
			if last := out.Items[len(out.Items)-1]; last.Timestamp == at {
				addPrice(last, &row)
				continue
			}
		}
		if len(out.Items) == size {
			out.NextPageToken = wire.EncodeToken("price history", q.Ticker+"\x00"+q.Bucket.String()+q.From+"\x00"+q.To, binary.BigEndian.AppendUint64(nil, uint64(row.Timestamp)))
			break
		}
		p := &pb.PricePoint{Timestamp: at, Open: row.Price, High: row.Price, Low: row.Price}
		addPrice(p, &row)
		out.Items = append(out.Items, p)
	}
	s.header(ctx, snap, bypass)
	return out, nil
}

// addPrice adds a row to a point.
func addPrice(p *pb.PricePoint, row *change.Quote) {
	if row.Price > p.High || math.IsNaN(p.High) {
		p.High = row.Price
	}
	if row.Price < p.Low || math.IsNaN(p.Low) {
		p.Low = row.Price
	}
	p.Close, p.Volume = row.Price, row.Volume
	p.Count++
}

// seconds reads a time: RFC 3339, or Unix seconds.
func seconds(field, text string, none int64) (int64, error) {
	if text == "" {
		return none, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, rpcerr.BadField(field, "is not a time like 2024-01-31T12:00:00Z, and no number of Unix seconds")
	}
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++ // the first second that is not before it
	}
	return n, nil
}

// cutPage reads a page of a call whose places are numbers. after is nil at the start.
func (c *core) cutPage(call, filter string, size int32, token string, most int) (n int, after *uint64, err error) {
	switch {
	case size < 0:
		return 0, nil, rpcerr.BadField("page_size", "is negative")
	case size > 0:
		most = min(most, int(size))
	}
	if token == "" {
		return most, nil, nil
	}
	body, err := wire.DecodeToken(call, filter, token)
	if err != nil || len(body) != 8 {
		return 0, nil, rpcerr.BadField("page_token", wire.ErrToken.Error())
	}
	at := binary.BigEndian.Uint64(body)
	return most, &at, nil
}

const (
	// historyBytes is what one call reads of the changelog and the filters beside it,
	// and historyPiece of that at a time.
	historyBytes, historyPiece = 64 << 20, 1 << 20
	// maxHistory is the largest number of changes of one answer.
	maxHistory = 1000
)

// GetProjectHistory implements carbon.CarbonService.
func (s service) GetProjectHistory(ctx context.Context, q *pb.GetProjectHistoryRequest) (*pb.GetProjectHistoryResponse, error) {
	if q.ProjectId == "" {
		return nil, rpcerr.BadField("project_id", "is empty")
	}
	if err := rpcerr.CheckText("project_id", q.ProjectId); err != nil {
		return nil, err
	}
	if s.opt.Changelog == nil {
		return nil, rpcerr.New(codes.Unimplemented, "this server keeps no changelog", rpcerr.Info(rpcerr.ReasonAsOf))
	}
	size, after, err := s.cutPage("project history", q.ProjectId, q.PageSize, q.PageToken, maxHistory)
	if err != nil {
		return nil, err
	}
	leave, err := enter(ctx, s.past.resumes)
	if err != nil {
		return nil, rpcerr.FromContext(err)
	}
	defer leave()
	log := s.opt.Changelog
	h := log.History()
	oldest, end := log.Oldest(), log.Position().Offset
	from := oldest
	if after != nil {
		from = max(from, change.Offset(*after))
	}
	out := &pb.GetProjectHistoryResponse{OldestOffset: uint64(h.Before(oldest) + 1)}
	reader := log.NewProjectReader(q.ProjectId, from)
	for reader.Spent() < historyBytes && len(out.Items) < size && reader.Next() <= end {
		if ctx.Err() != nil {
			return nil, rpcerr.FromContext(ctx.Err())
		}
		recs, err := reader.Read(historyPiece)
		if err != nil {
			return nil, s.callError(ctx, asOfError(err, end))
		}
		for i := range recs {
			if len(out.Items) == size {
				out.NextPageToken = historyToken(q.ProjectId, recs[i].Offset)
				return out, nil
			}
			out.Items = append(out.Items, projectChange(&recs[i]))
		}
	}
	if reader.Next() <= end {
		out.NextPageToken = historyToken(q.ProjectId, reader.Next())
	}
	return out, nil
}

func historyToken(id string, at change.Offset) string {
	return wire.EncodeToken("project history", id, binary.BigEndian.AppendUint64(nil, uint64(at)))
}

func projectChange(r *change.Record) *pb.ProjectChange {
	op := r.Op
	if op == change.Retract {
		op = change.Delete
	}
	m := &pb.ProjectChange{Offset: uint64(r.Offset), Lsn: r.LSN.String(), Topic: change.TopicName(r.Relation.Name), Op: op.String()}
	if r.Before != "" {
		m.BeforeJson = debezium.AppendRow(nil, r.Relation, r.Before)
	}
	if r.After != "" {
		m.AfterJson = debezium.AppendRow(nil, r.Relation, r.After)
	}
	if !r.CommitTime.IsZero() {
		m.CommitTimeMs = r.CommitTime.UnixMilli()
	}
	return m
}
