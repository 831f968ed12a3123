package e2e_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// proxy stands between the daemon and Postgres and is the bad network.
type proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup
	ctx      context.Context // ends with the proxy
	cancel   context.CancelFunc

	mu    sync.Mutex // guards what follows
	mode  mode
	gate  chan struct{} // closed while bytes pass
	pairs map[*pair]struct{}
	left  int // bytes from Postgres until every connection is cut; negative: no end
}

type mode int

const (
	passes mode = iota
	stalls      // nothing moves, nothing is closed
	crawls      // a few bytes at a time
	refuse      // new connections are closed at once
)

// pair is one connection through the proxy.
type pair struct {
	down, up net.Conn
	orphan   chan struct{} // not nil: up stays open until it is closed; guarded by proxy.mu
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, listener: l, pairs: map[*pair]struct{}{}, gate: make(chan struct{}), left: -1}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	close(p.gate)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.cancel()
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// through returns a URL that leads through the proxy.
func (p *proxy) through(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

func (p *proxy) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		no := p.mode == refuse
		p.mu.Unlock()
		if no {
			down.Close()
			continue
		}
		p.wg.Go(func() { p.serve(down) })
	}
}

func (p *proxy) serve(down net.Conn) {
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		down.Close()
		return
	}
	c := &pair{down: down, up: up}
	p.mu.Lock()
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(up, down, c) })
	p.pump(down, up, c)
	wg.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// pump moves bytes until one side ends, which ends the other.
func (p *proxy) pump(to, from net.Conn, c *pair) {
	defer p.end(c)
	buf := make([]byte, 32<<10)
	for {
		p.mu.Lock()
		gate, slow := p.gate, p.mode == crawls
		p.mu.Unlock()
		select {
		case <-gate:
		case <-p.ctx.Done():
			return
		}
		size := len(buf)
		if slow {
			size = 700
		}
		n, err := from.Read(buf[:size])
		if n > 0 {
			// What was read before the gate closed waits in front of it.
			p.mu.Lock()
			gate = p.gate
			p.mu.Unlock()
			select {
			case <-gate:
			case <-p.ctx.Done():
				return
			}
			if slow && !pause(p.ctx, 2*time.Millisecond) {
				return
			}
			pass := n
			if to == c.down {
				pass = p.allow(n)
			}
			if _, err := to.Write(buf[:pass]); err != nil {
				return
			}
			if pass < n {
				p.cut()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// set changes what the network is like from now on.
func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, is := p.mode == stalls, m == stalls; is && !was {
		p.gate = make(chan struct{})
	} else if was && !is {
		close(p.gate)
	}
	p.mode = m
}

// cutAfter cuts every connection after so many bytes from Postgres, wherever in
// a message that is. Negative takes it back.
func (p *proxy) cutAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// allow counts bytes and returns how many of them may pass.
func (p *proxy) allow(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < 0 {
		return n
	}
	if n < p.left {
		p.left -= n
		return n
	}
	n, p.left = p.left, -1
	return n
}

// cut closes every connection on both sides.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.down.Close()
		c.up.Close()
	}
}

// vanish resets the daemon's side of every connection and keeps the other, so
// that Postgres does not see an end: its walsender stays, and holds the slot,
// until it times out. The returned function lets go.
func (p *proxy) vanish() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	orphan := make(chan struct{})
	for c := range p.pairs {
		c.orphan = orphan
		if tcp, ok := c.down.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as from a rebooted host
		}
		c.down.Close()
	}
	return func() { close(orphan) }
}

// end closes both sides, the upper one of an orphan only when it is let go.
func (p *proxy) end(c *pair) {
	c.down.Close()
	p.mu.Lock()
	orphan := c.orphan
	p.mu.Unlock()
	if orphan != nil {
		select {
		case <-orphan:
		case <-p.ctx.Done():
		}
	}
	c.up.Close()
}
