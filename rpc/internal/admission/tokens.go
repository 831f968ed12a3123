// Package admission decides who may call, how often, and how much of the server one
// peer may hold: tokens and scopes, the rate of calls, shares of streams and of
// connections. Its errors are statuses.
package admission

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
)

// The tokens file has one token per line: a name, a scope and the token itself or
// "sha256:" and the hexadecimal SHA-256 of it. Empty lines and lines that begin
// with # are skipped.
//
//	# name        scope         token
//	dashboard     read          sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
//	desk          consume:desk  another-long-random-text
//	operations    admin         a-long-random-text
//
// admin includes all. consume:GROUP is read, and closes the group to tokens of the
// scope read: they neither consume nor commit for it.
//
// Only hashes are kept in memory, and no error names a token.

type scope uint8

const (
	scopeNone scope = iota
	scopeRead
	scopeAdmin
)

// String returns the word of the tokens file.
func (s scope) String() string { return [...]string{"none", "read", "admin"}[s] }

// Reasons in carbond_rpc_refused_total.
const (
	RefusedRate  = "rate_limit"
	RefusedToken = "token"
	RefusedScope = "scope"
)

// minToken bounds a plain token from below: a shorter one can be guessed.
const minToken = 16

// maxTokensFile bounds what is read of the file: a device may have no end.
const maxTokensFile = 1 << 20

// maxTokens bounds the file: every call compares with every token.
const maxTokens = 1024

// consumePrefix begins a scope that binds a consumer group to the token.
const consumePrefix = "consume:"

type bearer struct {
	name  string
	scope scope
	group string // that is bound to it
	sum   [sha256.Size]byte
}

func readTokens(path string) ([]bearer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	tokens, err := parseTokens(io.LimitReader(f, maxTokensFile))
	if err != nil {
		return nil, fmt.Errorf("read tokens of %s: %w", path, err)
	}
	return tokens, nil
}

func parseTokens(r io.Reader) ([]bearer, error) {
	var tokens []bearer
	names := make(map[string]bool)
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		t, err := parseToken(strings.Fields(text))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if names[t.name] {
			return nil, fmt.Errorf("line %d: the name %q is there twice", line, t.name)
		}
		names[t.name] = true
		if tokens = append(tokens, t); len(tokens) > maxTokens {
			return nil, fmt.Errorf("line %d: more than %d tokens", line, maxTokens)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("it holds no token, so nobody could call: add a line with name, scope and token, or unset the file")
	}
	return tokens, nil
}

func parseToken(f []string) (t bearer, err error) {
	if len(f) != 3 {
		return t, fmt.Errorf("want a name, a scope and a token, found %d words", len(f))
	}
	t.name = f[0]
	group, bound := strings.CutPrefix(f[1], consumePrefix)
	switch {
	case f[1] == "read":
		t.scope = scopeRead
	case f[1] == "admin":
		t.scope = scopeAdmin
	case bound && group != "":
		t.scope, t.group = scopeRead, group
	default:
		return t, fmt.Errorf("token %q: the scope must be read, consume:GROUP or admin", t.name)
	}
	if sum, ok := strings.CutPrefix(f[2], "sha256:"); ok {
		b, err := hex.DecodeString(sum)
		if err != nil || len(b) != sha256.Size {
			return t, fmt.Errorf("token %q: sha256: must be followed by 64 hexadecimal digits", t.name)
		}
		t.sum = [sha256.Size]byte(b)
		return t, nil
	}
	if len(f[2]) < minToken {
		return t, fmt.Errorf("token %q: shorter than %d characters; make one with: openssl rand -hex 32", t.name, minToken)
	}
	t.sum = sha256.Sum256([]byte(f[2]))
	return t, nil
}

// Tokens decide who may call what. The zero Tokens let everybody call everything.
type Tokens struct {
	path    string
	current atomic.Pointer[[]bearer]
	read    []string // methods and services of Options.ReadMethods

	mu   sync.Mutex           // guards held
	held map[*func()]struct{} // look at a stream after a reload
}

// ReadTokens reads a tokens file; without one everybody may call everything. read
// lists methods and services for which the scope read is enough.
func ReadTokens(path string, read []string) (*Tokens, error) {
	a := &Tokens{path: path, read: read, held: map[*func()]struct{}{}}
	return a, a.Reload()
}

// Reload reads the file again; on an error the tokens stay as they are. Streams of
// Hold whose token is no longer good end.
func (a *Tokens) Reload() error {
	if a.path == "" {
		return nil
	}
	tokens, err := readTokens(a.path)
	if err != nil {
		return err
	}
	a.current.Store(&tokens)
	a.mu.Lock()
	defer a.mu.Unlock()
	for look := range a.held {
		(*look)()
	}
	return nil
}

// Hold returns a context for a stream that was admitted. A reload that withdraws its
// token ends it, with the refusal as the cause. end is called when the stream ends.
func (a *Tokens) Hold(ctx context.Context, method string) (held context.Context, end func()) {
	if a.path == "" {
		return ctx, func() {}
	}
	held, cancel := context.WithCancelCause(ctx)
	look := func() {
		if _, err := a.Check(ctx, method); err != nil {
			cancel(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[&look] = struct{}{}
	look() // a reload may have come since it was admitted
	return held, func() {
		cancel(nil)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.held, &look)
	}
}

// need returns the scope that a method asks for. What nobody named asks for
// admin, so that a forgotten service is closed rather than open.
func (a *Tokens) need(method string) scope {
	switch {
	case strings.HasPrefix(method, "/grpc.health.v1.Health/"):
		return scopeNone // probes have no tokens, and learn nothing else
	case strings.HasPrefix(method, "/"+pb.CarbonService_ServiceDesc.ServiceName+"/"),
		strings.HasPrefix(method, "/grpc.reflection."), changelogRead(method):
		return scopeRead
	}
	for _, m := range a.read {
		if m == method || strings.HasSuffix(m, "/") && strings.HasPrefix(method, m) {
			return scopeRead
		}
	}
	return scopeAdmin
}

// changelogRead are the calls for which the scope read is enough. Moving and
// forgetting a group and copying everything need admin; a commit does not: a
// consumer must be able to say how far it is, and the generation keeps it from
// speaking for another.
func changelogRead(method string) bool {
	switch method {
	case pb.ChangelogService_ListTopics_FullMethodName, pb.ChangelogService_Consume_FullMethodName,
		pb.ChangelogService_CommitOffset_FullMethodName, pb.ChangelogService_ListGroups_FullMethodName:
		return true
	}
	return false
}

// Allows reports what the owner of a token may do, for clients that do not come by
// gRPC, and whether that is to consume and commit for a group. Without a tokens file
// everybody may do everything.
func (a *Tokens) Allows(token, group string) (read, admin, consume bool) {
	tokens := a.current.Load()
	if tokens == nil {
		return true, true, true
	}
	have, may := owner(*tokens, token, group)
	return have >= scopeRead, have >= scopeAdmin, have >= scopeRead && (may || !bound(*tokens, group))
}

// Check refuses a call without the right token. refused is the metric's reason.
func (a *Tokens) Check(ctx context.Context, method string) (refused string, err error) {
	tokens := a.current.Load()
	if tokens == nil {
		return "", nil
	}
	need := a.need(method)
	if need == scopeNone {
		return "", nil
	}
	text, have, _ := caller(ctx, *tokens, "")
	if trusted(ctx) {
		have = max(have, scopeRead)
	}
	if text == "" && have < need {
		return RefusedToken, rpcerr.New(codes.Unauthenticated,
			"a token is needed: send the metadata authorization: Bearer TOKEN", rpcerr.Info(rpcerr.ReasonTokenMissing))
	}
	switch {
	case have == scopeNone:
		return RefusedToken, rpcerr.New(codes.Unauthenticated, "the token is not known here", rpcerr.Info(rpcerr.ReasonTokenUnknown))
	case have < need:
		return RefusedScope, rpcerr.New(codes.PermissionDenied,
			"this call needs a token with the scope "+need.String(), rpcerr.Info(rpcerr.ReasonScopeMissing, "scope", need.String()))
	}
	return "", nil
}

// trust is the key of a context whose caller is known by other means than a token.
type trust struct{}

// Trust returns the context of a caller who may read without a token.
func Trust(ctx context.Context) context.Context { return context.WithValue(ctx, trust{}, true) }

func trusted(ctx context.Context) bool { return ctx.Value(trust{}) != nil }

// CheckGroup refuses a call for a consumer group that is bound to other tokens. An
// admitted call makes it.
func (a *Tokens) CheckGroup(ctx context.Context, group string) error {
	tokens := a.current.Load()
	if tokens == nil || !bound(*tokens, group) {
		return nil
	}
	if _, _, may := caller(ctx, *tokens, group); may {
		return nil
	}
	return rpcerr.New(codes.PermissionDenied, fmt.Sprintf("group %q is bound to other tokens: this call needs the scope %s%s", group, consumePrefix, group),
		rpcerr.Info(rpcerr.ReasonScopeMissing, "scope", consumePrefix+group))
}

// caller returns the token that a call brings, "" for none, its scope, and whether it
// may use a bound group.
func caller(ctx context.Context, tokens []bearer, group string) (text string, have scope, may bool) {
	for _, v := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if k, t, ok := strings.Cut(v, " "); ok && strings.EqualFold(k, "bearer") {
			text = strings.TrimSpace(t)
		}
	}
	have, may = owner(tokens, text, group)
	return text, have, may
}

// owner returns what a token allows, and whether a group that is bound is bound to it.
func owner(tokens []bearer, text, group string) (have scope, may bool) {
	sum := sha256.Sum256([]byte(text))
	for i := range tokens { // all of them, so that the time tells nothing
		t := &tokens[i]
		if subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
			have, may = max(have, t.scope), may || t.group == group || t.scope == scopeAdmin
		}
	}
	return have, may
}

// bound reports whether a group is closed to tokens that do not name it.
func bound(tokens []bearer, group string) bool {
	return group != "" && slices.ContainsFunc(tokens, func(t bearer) bool { return t.group == group })
}
