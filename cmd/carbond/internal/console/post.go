package console

import (
	"net/http"
	"net/url"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
)

// What a page changes: the token of its browser, and when a feed is polled.

const maxForm = 16 << 10 // bytes of a form

// tokenForm asks for a token, which brings the reader back to this page.
func tokenForm(q *request) g.Node {
	return h.Form(h.Method("post"), h.Action("/token"), hidden("csrf", q.csrf), hidden("to", q.link()),
		h.Label(g.Text("Token"), h.Input(h.Type("password"), h.Name("token"), h.AutoComplete("current-password"), h.Required(), h.MaxLength("4096"))),
		h.Button(h.Type("submit"), g.Text("Enter")))
}

func hidden(name, value string) g.Node {
	return h.Input(h.Type("hidden"), h.Name(name), h.Value(value))
}

// posted reads a form that a page of this console sent; ok is false when it did not.
func (c *Console) posted(w http.ResponseWriter, r *http.Request) (ok bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err == nil {
		err = c.opt.Door.CheckPost(r)
	}
	if err != nil {
		http.Error(w, status.Convert(err).Message(), http.StatusForbidden)
	}
	return err == nil
}

// back sends a browser to a page of this console, and nowhere else.
func back(w http.ResponseWriter, r *http.Request, to string) {
	if u, err := url.Parse(to); err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.ContainsAny(to, "\\\r\n") || strings.HasPrefix(to, "//") {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// enter keeps a token in the cookie of the browser.
func (c *Console) enter(w http.ResponseWriter, r *http.Request) {
	if !c.posted(w, r) {
		return
	}
	if err := c.opt.Door.Enter(w, r, strings.TrimSpace(r.PostForm.Get("token"))); err != nil {
		c.say(w, r, http.StatusUnauthorized, status.Convert(err).Message())
		return
	}
	back(w, r, r.PostForm.Get("to"))
}

func (c *Console) leave(w http.ResponseWriter, r *http.Request) {
	if !c.posted(w, r) {
		return
	}
	c.opt.Door.Leave(w, r)
	back(w, r, "/")
}

// poll polls a feed now. It waits for the end, as the command does; the page that it
// leads back to shows what came of it.
func (c *Console) poll(w http.ResponseWriter, r *http.Request) {
	if !c.posted(w, r) {
		return
	}
	ctx, err := c.opt.Door.Caller(r)
	if err == nil {
		var a *pb.PollFeedResponse
		if a, err = c.admin.PollFeed(ctx, &pb.PollFeedRequest{Feed: r.PostForm.Get("feed")}); err == nil && a.Error != "" {
			err = status.Error(codes.Unavailable, a.Error)
		}
	}
	switch st := status.Convert(err); st.Code() {
	case codes.OK:
		back(w, r, "/pipeline#h-feeds")
	case codes.Unauthenticated, codes.PermissionDenied:
		c.say(w, r, http.StatusForbidden, "Polling a feed needs a token with the scope admin: "+st.Message())
	case codes.NotFound:
		c.say(w, r, http.StatusNotFound, st.Message())
	default:
		c.say(w, r, http.StatusBadGateway, "The poll of "+r.PostForm.Get("feed")+" failed: "+st.Message())
	}
}

// say answers a form with a page that says one thing.
func (c *Console) say(w http.ResponseWriter, r *http.Request, code int, text string) {
	q := &request{path: "/pipeline", query: url.Values{}, status: c.opt.Status(), csrf: c.opt.Door.CSRF(r), still: true}
	body := g.Group{failure(text)}
	if code == http.StatusForbidden || code == http.StatusUnauthorized {
		body = append(body, tokenForm(q))
	}
	s, err := draw(c.frame(q, place{path: "/pipeline", name: "Not done"}, append(body, h.P(h.A(h.Href("/pipeline"), g.Text("Pipeline"))))))
	if err != nil {
		http.Error(w, text, code)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(s.Bytes())
}
