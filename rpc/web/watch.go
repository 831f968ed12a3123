package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/form"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// events is an answer of text/event-stream. What a browser would take for the end of
// all tries, any status but 200, is an event here.
type events struct {
	*call
	out interface {
		Write([]byte) (int, error)
		Flush() error
		Close() error
	}
	rc    *http.ResponseController
	begun bool
}

// reconnect is how long a browser waits before it comes again.
const reconnect = 2 * time.Second

func (e *events) send(event []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx would hold events back
		if e.enc != form.Identity {
			h.Set("Content-Encoding", string(e.enc))
		}
		e.out = form.NewWriter(patient{e.w, e.rc}, e.enc)
		event = append([]byte("retry: "+strconv.Itoa(int(reconnect.Milliseconds()))+"\n\n"), event...)
	}
	if _, err := e.out.Write(event); err != nil {
		return err
	}
	if err := e.out.Flush(); err != nil {
		return err
	}
	return e.rc.Flush()
}

// follow runs a stream behind a token; one that is gone is told, and begins again.
func (e *events) follow(token string, run func(token string) error) error {
	// The daemon stops: a client that does not read must not hold it.
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-e.api.Draining():
			_ = e.rc.SetWriteDeadline(time.Now().Add(time.Second))
		case <-done:
		}
	}()
	err := run(token)
	if token != "" && gone(err) {
		if err := e.send(e.problem("reset", problemOf(err))); err != nil {
			return nil
		}
		err = run("")
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled), e.r.Context().Err() != nil:
	case !e.begun && problemOf(err).retry == 0:
		return err
	default:
		p := problemOf(err)
		event := e.problem("error", p)
		if p.retry > 0 {
			event = append([]byte("retry: "+strconv.Itoa(p.retry*1000)+"\n"), event...)
		}
		_ = e.send(event)
	}
	if e.begun {
		_ = e.out.Close()
	}
	return nil
}

// gone reports whether a stream has to begin without its token.
func gone(err error) bool {
	p := problemOf(err)
	return err != nil && (p.Reason == rpcerr.ReasonCompacted || p.Reason == rpcerr.ReasonOtherHistory || p.Field == "resume_token")
}

// problem is a problem as an event.
func (e *events) problem(name string, p *Problem) []byte {
	p.RequestID = e.w.Header().Get(headerRequest)
	data, _ := json.Marshal(p) // of strings and numbers
	return append(append([]byte("event: "+name+"\ndata: "), data...), "\n\n"...)
}

// watch serves a view as events.
func watchView(v change.View) func(*call) error {
	return func(c *call) error {
		filter := ""
		switch m := c.m.(type) {
		case *pb.WatchProjectsRequest:
			filter = m.Country
		case *pb.WatchNewsRequest:
			filter = m.Source
		case *pb.WatchFinanceDataRequest:
			filter = m.Ticker
		}
		e := &events{call: c, rc: http.NewResponseController(c.w)}
		return e.follow(c.r.Header.Get("Last-Event-ID"), func(token string) error {
			return c.api.Watch(c.ctx, v, filter, token, e.send)
		})
	}
}
