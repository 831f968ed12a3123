package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/console"
	"carbond/cmd/carbond/internal/trend"
	pb "carbond/proto/carbon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// paths is every page, with every kind of query.
var paths = []string{
	"/", "/projects", "/projects/VCS-1", "/projects?q=a&country=b&vintage_min=2000&min_supply=1.5&order=-supply&column=supply&column=country&page_token=t",
	"/projects?as_of=12", "/projects/VCS-1?as_of=2026-01-02", "/prices", "/prices/KRBN", "/news", "/news?source=x", "/pipeline",
	"/changelog", "/changelog?key=k&from=12", "/changelog?from=2026-01-02+03:04",
}

// world is what the pages show: a status, and an API that answers with messages whose
// texts are all the same.
type world struct {
	mu      sync.Mutex // guards what changes while live pages are open: status and asked
	status  admin.Status
	trend   []trend.Sample
	text    string
	err     error               // of every call of the API
	refused error               // of the door
	asked   []proto.Message     // calls of the API
	history []*pb.ProjectChange // nil for some of its text
}

func (w *world) console() *console.Console {
	return console.New(console.Options{
		Status: w.current, Trend: func() []trend.Sample { return w.trend },
		Door: w, API: w, Stream: w.stream, Gzip: func(*http.Request) bool { return false },
	})
}

func (w *world) current() admin.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Topics = slices.Clone(s.Topics)
	return s
}

func (w *world) ask(m proto.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, m)
}

func (w *world) Caller(r *http.Request) (context.Context, error) { return r.Context(), w.refused }

func (w *world) Enter(rw http.ResponseWriter, _ *http.Request, token string) error {
	if token != "right" {
		return status.Error(codes.Unauthenticated, "the token is not known here")
	}
	rw.Header().Set("Set-Cookie", "entered")
	return nil
}

func (w *world) Leave(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Set-Cookie", "left") }
func (w *world) CSRF(*http.Request) string                     { return "csrf-text" }

func (w *world) CheckPost(r *http.Request) error {
	if r.PostFormValue("csrf") != "csrf-text" {
		return status.Error(codes.PermissionDenied, "not from a page")
	}
	return nil
}

// Invoke implements grpc.ClientConnInterface.
func (w *world) Invoke(_ context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	w.ask(args.(proto.Message))
	if w.err != nil {
		return w.err
	}
	fillMessage(reply.(proto.Message).ProtoReflect(), w.text, 3)
	if a, ok := reply.(*pb.GetProjectHistoryResponse); ok && w.history != nil {
		a.Items, a.NextPageToken = w.history, ""
	}
	if a, ok := reply.(*pb.PollFeedResponse); ok && args.(*pb.PollFeedRequest).Feed == "verra" {
		a.Error = ""
	}
	return nil
}

// NewStream implements grpc.ClientConnInterface.
func (w *world) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "none")
}

func (w *world) stream(_ context.Context, method string, req proto.Message, send func(any) error) error {
	w.ask(req)
	if w.err != nil {
		return w.err
	}
	text, err := json.Marshal(w.text)
	if err != nil {
		return err
	}
	for i := range uint64(3) {
		value := fmt.Sprintf(`{"before":{"a":1,%[1]s:"k"},"after":{"a":2,%[1]s:%[1]s}}`, text)
		if err := send(&pb.ConsumeResponse{Records: []*pb.ChangeRecord{{
			Offset: 10 + i, Topic: w.text, Op: "u", KeyJson: fmt.Appendf(nil, `{"k":%s}`, text), ValueJson: []byte(value),
		}}}); err != nil {
			return err
		}
	}
	return nil
}

// routes is the pages of a console.
func routes(c *console.Console) http.Handler {
	m := http.NewServeMux()
	c.Routes(m)
	return m
}

func fillMessage(m protoreflect.Message, s string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil && !f.HasOptionalKeyword():
		case f.IsList() && f.Message() != nil && depth > 0:
			for range 2 {
				fillMessage(m.Mutable(f).List().AppendMutable().Message(), s, depth-1)
			}
		case f.IsList() || f.IsMap():
		case f.Message() != nil && depth > 0:
			fillMessage(m.Mutable(f).Message(), s, depth-1)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(s))
		case f.Kind() == protoreflect.DoubleKind:
			m.Set(f, protoreflect.ValueOfFloat64(1.5))
		case f.Kind() == protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(1_800_000_000))
		case f.Kind() == protoreflect.Uint64Kind:
			m.Set(f, protoreflect.ValueOfUint64(42))
		case f.Kind() == protoreflect.Int32Kind:
			m.Set(f, protoreflect.ValueOfInt32(2020))
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		}
	}
}

// worldOf is a world with a text everywhere.
func worldOf(text string) *world {
	w := &world{text: text}
	fill(reflect.ValueOf(&w.status).Elem(), text)
	w.status.Started = time.Unix(1_800_000_000, 0)
	return w
}

// fill sets every string inside v to s, and every other thing to something that shows
// on a page.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if v.Type() != reflect.TypeFor[*time.Time]() {
			fill(v.Elem(), s)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), s)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		v.SetBool(true)
	}
}

func get(t *testing.T, c *console.Console, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	routes(c).ServeHTTP(w, r)
	return w
}

// shape returns the elements of a page with the names of their attributes, and its
// text. It fails for an element that is not closed.
func shape(t *testing.T, w *httptest.ResponseRecorder) (elements []string, text string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(w.Body)
	for {
		switch tt := z.Next(); tt {
		case html.ErrorToken:
			if z.Err() != io.EOF || len(open) > 0 {
				t.Errorf("%v; %v are not closed", z.Err(), open)
			}
			return elements, text
		case html.TextToken:
			text += string(z.Text()) + "|"
		default:
			tok := z.Token()
			var names []string
			for _, a := range tok.Attr {
				names = append(names, a.Key)
			}
			elements = append(elements, fmt.Sprint(tt, tok.Data, names))
			switch {
			case tt == html.StartTagToken && !slices.Contains([]string{"meta", "link", "br", "input"}, tok.Data):
				open = append(open, tok.Data)
			case tt == html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != tok.Data {
					t.Fatalf("</%s> inside %v", tok.Data, open)
				}
				open = open[:len(open)-1]
			}
		}
	}
}
