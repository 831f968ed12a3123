package console_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/console"
)

// TestChartScript: the script of charts is the same for clients that take gzip and those
// that do not.
func TestChartScript(t *testing.T) {
	mux := http.NewServeMux()
	console.New(console.Options{Gzip: func(r *http.Request) bool { return r.Header.Get("Accept-Encoding") == "gzip" }}).Routes(mux)
	var texts []string
	for _, accept := range []string{"gzip", ""} {
		r := httptest.NewRequest(http.MethodGet, "/static/uplot/uplot.js", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		var from io.Reader = w.Body
		if packed := w.Header().Get("Content-Encoding") == "gzip"; packed != (accept != "") {
			t.Errorf("Accept-Encoding %q got %q", accept, w.Header())
		} else if packed {
			var err error
			if from, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(from)
		if err != nil || w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") {
			t.Errorf("%d %v %v", w.Code, err, w.Header())
		}
		texts = append(texts, string(b))
	}
	if texts[0] != texts[1] || !strings.Contains(texts[0], "uPlot") || len(texts[0]) != 51081 {
		t.Errorf("%d and %d bytes", len(texts[0]), len(texts[1]))
	}
}
