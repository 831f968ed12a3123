package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"carbond/rpc"
	"carbond/rpc/rpcerr"
)

// Reasons of the door in problems.
const (
	reasonClosedDoor = "HTTP_CLOSED"
	reasonCSRF       = "CSRF"
)

// Door decides who comes in by HTTP. A token is sent as a bearer token, or kept in a
// cookie that a page sets. Its methods may be called from any goroutine.
//
// Where tokens are configured everybody needs one, but for holders of a client
// certificate, who may read, and all when http.open says so. Where neither is, only
// callers over a loopback address come in.
type Door struct {
	api    *rpc.Server
	opt    DoorOptions
	secret [32]byte // of CSRF tokens; they end with the process, like the pages that have them
}

// DoorOptions say who is let in without a token.
type DoorOptions struct {
	Tokens bool // callers need a token
	// Certificates says that those of gRPC need a client certificate and no token: then
	// nobody comes in without one.
	Certificates bool
	Open         func() bool // http.open; nil means no
}

// NewDoor returns a door to a server.
func NewDoor(api *rpc.Server, opt DoorOptions) *Door {
	d := &Door{api: api, opt: opt}
	_, _ = rand.Read(d.secret[:]) // never fails
	return d
}

// Cookie is the name of the cookie that holds a token.
const Cookie = "carbond_token"

// Token returns the token that a request brings, "" for none, and whether it came by
// the cookie.
func (d *Door) Token(r *http.Request) (token string, cookie bool) {
	if k, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(k, "bearer") {
		return strings.TrimSpace(t), false
	}
	if c, err := r.Cookie(Cookie); err == nil {
		return c.Value, true
	}
	return "", false
}

// Trusted reports whether a request may read without a token.
func (d *Door) Trusted(r *http.Request) bool {
	return d.opt.Open != nil && d.opt.Open() || r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}

// Caller returns the context of calls to rpc.Server.Local, List and Stream for a request.
// The error says why the caller stays outside; whether a token is right, the call says.
func (d *Door) Caller(r *http.Request) (context.Context, error) {
	trusted := d.Trusted(r)
	if d.opt.Certificates && !trusted {
		return nil, rpcerr.New(codes.PermissionDenied, "the API asks its callers for a client certificate, and so does this listener: set http.client_ca, or http.open", rpcerr.Info(reasonClosedDoor))
	}
	if !d.opt.Tokens && !trusted && !overLoopback(r) {
		return nil, rpcerr.New(codes.PermissionDenied, "carbond serves neither data nor pages beyond loopback without tokens or client certificates", rpcerr.Info(reasonClosedDoor))
	}
	token, _ := d.Token(r)
	md := metadata.MD{}
	if v := r.Header.Values("Cache-Control"); len(v) > 0 {
		md.Set(rpc.HeaderCacheControl, v...)
	}
	for _, h := range []string{rpc.HeaderMinLSN, rpc.HeaderAtLSN} {
		if v := r.Header.Get(h); v != "" {
			md.Set(h, v)
		}
	}
	return rpc.AsCaller(r.Context(), &peer.Peer{Addr: remote(r)}, token, trusted, md), nil
}

// remote is the address of the client.
func remote(r *http.Request) net.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return &net.UnixAddr{Name: r.RemoteAddr, Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(a)
}

// overLoopback reports whether a request came to a loopback address of this machine.
func overLoopback(r *http.Request) bool {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// Enter keeps a token in the cookie of the browser. It is for a form of a page, whose
// CSRF token was checked.
func (d *Door) Enter(w http.ResponseWriter, r *http.Request, token string) error {
	if read, _, _ := d.api.Allows(token, ""); !read {
		return rpcerr.New(codes.Unauthenticated, "the token is not known here", rpcerr.Info(rpcerr.ReasonTokenUnknown))
	}
	http.SetCookie(w, &http.Cookie{Name: Cookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, MaxAge: 30 * 24 * 3600})
	return nil
}

// Leave forgets the token of the browser.
func (d *Door) Leave(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: Cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, MaxAge: -1})
}

// CSRF returns what a form of a page for this caller carries in the field "csrf".
func (d *Door) CSRF(r *http.Request) string {
	token, _ := d.Token(r)
	m := hmac.New(sha256.New, d.secret[:])
	m.Write([]byte(token))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// CheckPost refuses a request that changes something unless a page of this listener
// sent it: the browser says that it is of the same origin, or is one that says
// nothing, and it carries what CSRF gave. A program that sends a bearer token is no
// browser that somebody misleads.
func (d *Door) CheckPost(r *http.Request) error {
	if _, cookie := d.Token(r); !cookie && r.Header.Get("Authorization") != "" {
		return nil
	}
	foreign := http.NewCrossOriginProtection().Check(r) != nil
	given := r.Header.Get("X-Csrf-Token")
	if given == "" {
		given = r.PostFormValue("csrf")
	}
	if foreign || subtle.ConstantTimeCompare([]byte(given), []byte(d.CSRF(r))) != 1 {
		return rpcerr.New(codes.PermissionDenied, "the request does not come from a page of this carbond that was opened since it started", rpcerr.Info(reasonCSRF))
	}
	return nil
}
