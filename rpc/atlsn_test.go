package rpc_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// history is embedded under a name that is not one of its methods.
type history = rpc.History

// byLSN is a history whose offset n is the transaction that ends at LSN 10 n.
type byLSN struct {
	history
	oldest change.Offset
}

func (h byLSN) AtLSN(_ context.Context, lsn change.LSN) (change.Offset, error) {
	at := change.Offset(lsn / 10)
	if at < h.oldest {
		return 0, &change.CompactedError{Oldest: h.oldest}
	}
	return at, nil
}

func (h byLSN) AsOf(_ context.Context, at change.Offset, _ change.Selection, _ change.ViewSnapshot) (change.ViewSnapshot, error) {
	d := &data{offset: at, lsn: change.LSN(10 * at)}
	for i := range at {
		d.projects = append(d.projects, change.ProjectDetail{Project: change.Project{ProjectID: string(rune('a' + i))}})
	}
	return d, nil
}

func TestAtLSN(t *testing.T) {
	at := func(lsn string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), rpc.HeaderAtLSN, lsn)
	}
	r := newReader(&data{lsn: 60, offset: 6, projects: make([]change.ProjectDetail, 6)})
	c, _ := serve(t, r, rpc.Options{Pool: noSQL{}, History: byLSN{oldest: 2}, MinLSNWait: 50 * time.Millisecond})

	var head metadata.MD
	got, err := c.GetProjects(at("0/2D"), new(pb.ProjectQuery), grpc.Header(&head)) // 45: behind the fourth
	if err != nil || len(got.Items) != 4 || head.Get(rpc.HeaderOffset)[0] != "4" || head.Get(rpc.HeaderCache)[0] != "bypass" {
		t.Errorf("%v, %v, %v", got, head, err)
	}
	// A second page is of the same version, and of that only.
	first, err := c.GetProjects(at("0/2D"), &pb.ProjectQuery{PageSize: 3})
	if err != nil || len(first.Items) != 3 || first.NextPageToken == "" {
		t.Fatalf("%v, %v", first, err)
	}
	if got, err := c.GetProjects(at("0/2D"), &pb.ProjectQuery{PageSize: 3, PageToken: first.NextPageToken}); err != nil || len(got.Items) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		call   func() error
		code   codes.Code
		reason string
	}{
		"the token of another position": {func() error {
			_, err := c.GetProjects(at("0/2E"), &pb.ProjectQuery{PageSize: 3, PageToken: first.NextPageToken})
			return err
		}, codes.InvalidArgument, "page_token"},
		"not reached": {func() error {
			_, err := c.GetProjects(at("0/3D"), new(pb.ProjectQuery))
			return err
		}, codes.Unavailable, rpcerr.ReasonMinLSN},
		"gone": {func() error {
			_, err := c.GetProjects(at("0/13"), new(pb.ProjectQuery))
			return err
		}, codes.OutOfRange, rpcerr.ReasonCompacted},
		"no position": {func() error {
			_, err := c.GetProjects(at("now"), new(pb.ProjectQuery))
			return err
		}, codes.InvalidArgument, rpc.HeaderAtLSN},
		"zero": {func() error {
			_, err := c.GetProjects(at("0/0"), new(pb.ProjectQuery))
			return err
		}, codes.InvalidArgument, rpc.HeaderAtLSN},
		"two wishes": {func() error {
			_, err := c.GetProjects(at("0/2D"), &pb.ProjectQuery{AsOfOffset: 3})
			return err
		}, codes.InvalidArgument, rpc.HeaderAtLSN},
		"from SQL": {func() error {
			_, err := c.GetNonStreamingProjects(at("0/2D"), new(pb.ProjectQuery))
			return err
		}, codes.InvalidArgument, rpc.HeaderAtLSN},
	} {
		t.Run(name, func(t *testing.T) { wantStatus(t, tt.call(), tt.code, tt.reason) })
	}
	embedded, _ := serve(t, r, rpc.Options{History: byLSN{}})
	_, err = embedded.GetProjects(at("0/1"), new(pb.ProjectQuery))
	wantStatus(t, err, codes.FailedPrecondition, rpcerr.ReasonEmbedded)
}

func TestAtLSNWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(&data{lsn: 20, offset: 2})
		c, _ := serve(t, r, rpc.Options{Pool: noSQL{}, History: byLSN{}})
		time.AfterFunc(3*time.Second, func() { r.set(&data{lsn: 90, offset: 9}) })
		got, err := c.GetProjects(metadata.AppendToOutgoingContext(t.Context(), rpc.HeaderAtLSN, "0/32"), new(pb.ProjectQuery))
		if err != nil || len(got.Items) != 5 {
			t.Errorf("%v, %v", got, err)
		}
	})
}
