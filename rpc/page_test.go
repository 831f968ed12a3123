package rpc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// pages walks all pages and returns the keys and the number of pages.
func pages(t *testing.T, size int32, get func(size int32, token string) (keys []string, next string, err error)) (all []string, n int) {
	t.Helper()
	token := ""
	for {
		keys, next, err := get(size, token)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, keys...)
		n++
		if len(keys) > int(size) {
			t.Fatalf("a page of %d items, asked for %d", len(keys), size)
		}
		if next == "" {
			return all, n
		}
		if len(keys) == 0 || n > 1000 {
			t.Fatal("pages do not come to an end")
		}
		token = next
	}
}

func projectPages(t *testing.T, c pb.CarbonServiceClient, country string, direct bool) func(int32, string) ([]string, string, error) {
	return func(size int32, token string) ([]string, string, error) {
		get := c.GetProjects
		if direct {
			get = c.GetNonStreamingProjects
		}
		r, err := get(t.Context(), &pb.ProjectQuery{Country: country, PageSize: size, PageToken: token})
		var keys []string
		for _, p := range r.GetItems() {
			keys = append(keys, p.ProjectId)
		}
		return keys, r.GetNextPageToken(), err
	}
}

func financePages(t *testing.T, c pb.CarbonServiceClient, direct bool) func(int32, string) ([]string, string, error) {
	return func(size int32, token string) ([]string, string, error) {
		get := c.GetFinanceData
		if direct {
			get = c.GetNonStreamingFinanceData
		}
		r, err := get(t.Context(), &pb.FinanceQuery{PageSize: size, PageToken: token})
		var keys []string
		for _, q := range r.GetItems() {
			keys = append(keys, q.Ticker)
		}
		if int(r.GetCount()) != len(keys) {
			t.Errorf("count %d with %d items", r.GetCount(), len(keys))
		}
		return keys, r.GetNextPageToken(), err
	}
}

func newsPages(t *testing.T, c pb.CarbonServiceClient, source string, direct bool) func(int32, string) ([]string, string, error) {
	return func(size int32, token string) ([]string, string, error) {
		get := c.GetNews
		if direct {
			get = c.GetNonStreamingNews
		}
		r, err := get(t.Context(), &pb.NewsQuery{Source: source, PageSize: size, PageToken: token})
		var keys []string
		for _, n := range r.GetItems() {
			keys = append(keys, n.Guid)
		}
		return keys, r.GetNextPageToken(), err
	}
}

func TestPages(t *testing.T) {
	d := sample() // has a project with an empty id, which must not begin the list again
	for i := range 250 {
		d.news = append(d.news, change.NewsItem{GUID: fmt.Sprintf("n%03d", i), Source: "Feed"})
	}
	c, _ := serve(t, newReader(d), rpc.Options{MaxPageSize: 40})
	var ids, tickers, guids []string
	for _, p := range d.projects {
		ids = append(ids, p.ProjectID)
	}
	for _, q := range d.quotes {
		tickers = append(tickers, q.Ticker)
	}
	for _, n := range d.news[:change.NewsLimit] {
		guids = append(guids, n.GUID)
	}
	for _, direct := range []bool{false, true} {
		for size := int32(1); size <= 7; size++ {
			for name, tc := range map[string]struct {
				get  func(int32, string) ([]string, string, error)
				want []string
			}{
				"projects": {projectPages(t, c, "", direct), ids},
				"brazil":   {projectPages(t, c, "Brazil", direct), ids[1:3]},
				"nowhere":  {projectPages(t, c, "Nowhere", direct), nil},
				"finance":  {financePages(t, c, direct), tickers},
				"news":     {newsPages(t, c, "", direct), guids},
			} {
				got, n := pages(t, size, tc.get)
				if !slices.Equal(got, tc.want) {
					t.Fatalf("%s by %d: %q, want %q", name, size, got, tc.want)
				}
				if want := max(1, (len(tc.want)+int(size)-1)/int(size)); n != want {
					t.Fatalf("%s by %d: %d pages, want %d: no empty page at the end", name, size, n, want)
				}
			}
		}
	}
	r, err := c.GetNews(t.Context(), &pb.NewsQuery{PageSize: 1 << 30})
	if err != nil || len(r.Items) != 40 || r.NextPageToken == "" {
		t.Fatalf("a huge page_size is lowered: %d items, %v", len(r.Items), err)
	}
	rest, err := c.GetNews(t.Context(), &pb.NewsQuery{PageToken: r.NextPageToken})
	if err != nil || len(rest.Items) != 60 {
		t.Fatalf("page_size 0 is everything that is left: %d items, %v", len(rest.GetItems()), err)
	}
}

func TestForeignTokens(t *testing.T) {
	c, _ := serve(t, newReader(sample()), rpc.Options{})
	r, err := c.GetProjects(t.Context(), &pb.ProjectQuery{Country: "Brazil", PageSize: 1})
	if err != nil || r.NextPageToken == "" {
		t.Fatal(err)
	}
	tok := r.NextPageToken
	flipped := []byte(tok)
	flipped[len(flipped)/2] ^= 1
	for name, q := range map[string]*pb.ProjectQuery{
		"other filter": {Country: "Kenya", PageToken: tok},
		"no filter":    {PageToken: tok},
		"cut":          {Country: "Brazil", PageToken: tok[:len(tok)-1]},
		"longer":       {Country: "Brazil", PageToken: tok + "A"},
		"flipped":      {Country: "Brazil", PageToken: string(flipped)},
		"padded":       {Country: "Brazil", PageToken: tok + "="},
		"huge":         {Country: "Brazil", PageToken: strings.Repeat("A", 100_000)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.GetProjects(t.Context(), q)
			wantStatus(t, err, codes.InvalidArgument, "page_token")
		})
	}
	_, err = c.GetNonStreamingProjects(t.Context(), &pb.ProjectQuery{Country: "Brazil", PageToken: tok})
	wantStatus(t, err, codes.InvalidArgument, "page_token")
	_, err = c.GetNews(t.Context(), &pb.NewsQuery{Source: "Brazil", PageToken: tok})
	wantStatus(t, err, codes.InvalidArgument, "page_token")
}

func TestNewsMoves(t *testing.T) {
	list := func(s string) []string { return strings.Fields(s) }
	for name, tc := range map[string]struct {
		seen, now string
		next      string // first item of the next page
	}{
		"nothing changed":            {"a b c", "a b c d e", "d"},
		"newer ones came":            {"a b c", "x y a b c d e", "d"},
		"the last one was deleted":   {"a b c", "a b d e", "d"},
		"an earlier one was deleted": {"a b c", "a c d e", "d"},
		"all seen were deleted":      {"a b c", "d e f", "d"},
		"one came below the last":    {"a b c", "a b z d e", "z"},
		"pushed out by newer ones":   {"a b c", "u v w x y", "u"},
		"many seen":                  {"a b c d e f g h i j", "a b c d e f g h i j k", "k"},
		"many seen, 8 last deleted":  {"a b c d e f g h i j", "a b k l", "k"},
	} {
		t.Run(name, func(t *testing.T) {
			now := list(tc.now)
			at, ok := rpc.StartOf(rpc.MarkAfter(list(tc.seen)), now)
			if !ok || at >= len(now) || now[at] != tc.next {
				t.Fatalf("next page begins at %d (ok %v), want %s", at, ok, tc.next)
			}
		})
	}
	if at, ok := rpc.StartOf(rpc.MarkAfter(list("a b c")), nil); !ok || at != 0 {
		t.Fatalf("an emptied list: %d, %v", at, ok)
	}
}

func FuzzToken(f *testing.F) {
	f.Add("projects", "Brazil", wire.EncodeToken("projects", "Brazil", []byte("VCS-1")), []byte("VCS-1"))
	f.Add("news", "", wire.EncodeToken("news", "", rpc.MarkAfter([]string{"a", "b"})), rpc.MarkAfter([]string{"a"}))
	f.Add("finance", "KRBN", "AQ", []byte{})
	f.Fuzz(func(t *testing.T, call, filter, token string, body []byte) {
		if b, err := wire.DecodeToken(call, filter, token); err == nil {
			// Only what this server makes is a token.
			if again := wire.EncodeToken(call, filter, b); again != token {
				t.Fatalf("token %q is accepted, %q is made", token, again)
			}
			if at, ok := rpc.StartOf(b, []string{"a", "b"}); ok && (at < 0 || at > 2) {
				t.Fatalf("start %d", at)
			}
		}
		made := wire.EncodeToken(call, filter, body)
		b, err := wire.DecodeToken(call, filter, made)
		if len(made) <= 16<<10 && (err != nil || string(b) != string(body)) {
			t.Fatalf("round trip: %q, %v", b, err)
		}
		if _, err := wire.DecodeToken(call, filter+"x", made); err == nil {
			t.Fatal("a token of another filter is accepted")
		}
		if at, ok := rpc.StartOf(body, []string{"a", "b", "c"}); ok && (at < 0 || at > 3) {
			t.Fatalf("start %d", at)
		}
	})
}
