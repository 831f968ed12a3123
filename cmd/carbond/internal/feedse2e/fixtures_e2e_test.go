package feedse2e_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/proto/carbon"
	"carbond/replicate/pgtest"
)

// patience is how long a step may take on a slow machine.
const patience = 2 * time.Minute

// settled waits until all rows of the fixtures are at the API. The last to come
// are the supplies, which need the totals of each project.
func (d *daemon) settled() {
	d.t.Helper()
	want := goldenProjects(d.t)
	programtest.Until(d.t, patience, "all rows are at the API", func() bool {
		v := d.read()
		for _, w := range want {
			if v.projects[w.ProjectID].GetSupply() != w.Supply {
				return false
			}
		}
		return len(v.finance) == 47 && v.finance["TSLA"].GetMarketCap() > 0 && len(v.news) > 0
	})
	d.morePolls(2, feedNames()...)
}

// Fixtures -> feeds -> Postgres -> its log -> store -> API: every row is there,
// the same again leaves no trace, and nobody's address is anywhere.
func TestFixturesReachTheAPI(t *testing.T) {
	t.Parallel()
	db, s := pgtest.Shared(t).Database(t), newStand(t)
	data := filepath.Join(t.TempDir(), "data")
	env := []string{
		"CARBOND_DATA_DIR=" + data, "CARBOND_POSTGRES_URL=" + db,
		"CARBOND_CONFIG=" + configFile(t, s.config("  user_agent_contact: +https://example.org/contact\n")),
	}
	d := start(t, env, "serve")
	d.settled()
	v := d.read()
	checkProjects(t, v.projects)
	checkFinance(t, v.finance)
	checkNews(t, v.news)
	checkDetail(t, d)
	if got := pgtest.Text(t, db, `SELECT (SELECT count(*) FROM verra), (SELECT count(*) FROM carbonmark), (SELECT count(*) FROM finance), (SELECT count(*) FROM news)`); got[0][0] != "23" || got[0][1] != "24" || got[0][2] != "47" {
		t.Errorf("rows in Postgres: %v", got)
	}

	t.Log("the same again")
	offset, served := d.offset(), v.text()
	d.morePolls(3, feedNames()...)
	if now := d.offset(); now != offset {
		t.Errorf("unchanged polls led to records %d to %d", offset, now)
	}
	if now := d.read().text(); now != served {
		t.Error("unchanged polls changed the rows")
	}
	list := d.feedsCommand()
	for _, f := range feedNames() {
		if !regexp.MustCompile(`(?m)^` + f + ` +(ok|polling)( +(\d{4}-\S+ )?\d\d:\d\d:\d\d){2} +[1-9]`).MatchString(list) {
			t.Errorf("carbond feeds does not say that %s is well:\n%s", f, list)
		}
	}
	checkManners(t, s)
	checkFetch(t, d, env, db)

	t.Log("a restart")
	offset = d.offset()
	d.Stop(t)
	asked := len(s.news.requests("guardian"))
	d2 := start(t, env, "serve")
	d2.settled()
	for _, r := range s.news.requests("guardian")[asked:] {
		if r.Header.Get("If-None-Match") == "" {
			t.Error("the validators were forgotten")
		}
	}
	if now := d2.read().text(); now != served {
		t.Errorf("the restart changed the rows:\n%s\nwere:\n%s", now, served)
	}
	if now := d2.offset(); now != offset {
		t.Errorf("polls after the restart led to records %d to %d", offset, now)
	}
	d2.Stop(t)
	checkAddresses(t, data, db, d.Log.String()+d2.Log.String()+served)
}

// checkDetail reads one project with all that is known of it.
func checkDetail(t *testing.T, d *daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := d.api.GetProjectDetail(ctx, &carbon.ProjectDetailQuery{ProjectId: "VCS-934"})
	if err != nil {
		t.Fatal(err)
	}
	p := got.GetProject()
	if p.ProjectLink != "https://registry.verra.org/app/projectDetail/VCS/934" || p.Source != "verra+carbonmark" ||
		p.Country != "Democratic Republic of the Congo" || !strings.Contains(p.ProjectSummary, "Write to [address removed]") {
		t.Errorf("detail: %v", p)
	}
	issued := 0.0
	for _, v := range p.GetVintages() {
		issued += v.GetIssued()
	}
	if issued != 2_636_576 {
		t.Errorf("%v issued by vintage: %v", issued, p.GetVintages())
	}
	byCountry, err := d.api.GetProjects(ctx, &carbon.ProjectQuery{Country: p.Country})
	if err != nil || len(byCountry.Items) == 0 {
		t.Errorf("projects of %s: %v %v", p.Country, byCountry, err)
	}
	checkVintages(t, d)
}

// checkVintages: what became of the credits of a vintage adds up wherever it is known, also to
// what is left of the project.
func checkVintages(t *testing.T, d *daemon) {
	t.Helper()
	list, err := d.api.GetProjects(t.Context(), &carbon.ProjectQuery{})
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	for _, item := range list.Items {
		got, err := d.api.GetProjectDetail(t.Context(), &carbon.ProjectDetailQuery{ProjectId: item.ProjectId})
		if err != nil {
			t.Fatal(err)
		}
		known, left := true, 0.0
		for _, v := range got.GetProject().GetVintages() {
			if v.Issued == nil || v.Retired == nil || v.Cancelled == nil || v.Available == nil {
				known = false
				continue
			}
			left += *v.Available
			if *v.Issued != *v.Retired+*v.Cancelled+*v.Available {
				t.Errorf("%s: a vintage does not add up: %v", item.ProjectId, v)
			}
		}
		if known && len(got.GetProject().GetVintages()) > 0 {
			full++
			if left != item.Supply {
				t.Errorf("%s: %v left by vintage, %v in all", item.ProjectId, left, item.Supply)
			}
		}
	}
	if full == 0 {
		t.Error("of no project all vintages are known")
	}
}

// checkManners looks at how the upstreams were asked.
func checkManners(t *testing.T, s *stand) {
	t.Helper()
	for _, u := range s.all() {
		for _, r := range u.requests("") {
			if ua := r.UserAgent(); !strings.HasPrefix(ua, "carbond/") || !strings.HasSuffix(ua, " (+https://example.org/contact)") {
				t.Fatalf("%s was asked by %q", r.URL.Path, ua)
			}
		}
	}
	if list := s.verra.requests("/publicReportPageSearch"); len(list) == 0 || list[0].Header.Get("Origin") != "https://registry.verra.org" {
		t.Error("searches of the registry without its origin")
	}
	if n := len(s.verra.requests("environment.config.json")); n != 1 {
		t.Errorf("the configuration document was read %d times", n)
	}
}

// checkFetch polls by hand and looks at what that would change.
func checkFetch(t *testing.T, d *daemon, env []string, db string) {
	t.Helper()
	if out := program.Must(t, env, "feeds", "fetch", "finance"); !strings.Contains(out, "would insert 0, update 0, delete 0; 47 are unchanged") {
		t.Error(out)
	}
	// Somebody changes a row: the feed would correct it, and says so.
	pgtest.Exec(t, db, "UPDATE carbonmark SET amount = 17 WHERE id = 'VCS-498'")
	out := program.Must(t, env, "feeds", "fetch", "carbonmark")
	for _, want := range []string{"would insert 0, update 1, delete 0; ", "\n  VCS-498 | VCS-498 | Wind Electricity Generation, Coastal Plains | 2012 | 25922.899"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "\n  "); n != 1 {
		t.Errorf("%d rows are printed, one would change:\n%s", n, out)
	}
	if got := pgtest.Text(t, db, "SELECT amount FROM carbonmark WHERE id = 'VCS-498'"); got[0][0] != "17" {
		t.Errorf("a preview wrote: %v", got)
	}
	if code, out := program.Command(t, env, "feeds", "fetch", "nobody"); code != 64 || !strings.Contains(out, "carbonmark") {
		t.Errorf("an unknown feed: %d %s", code, out)
	}
	// Back to where it was, for what follows.
	offset := d.offset()
	pgtest.Exec(t, db, "UPDATE carbonmark SET amount = 25922.899 WHERE id = 'VCS-498'")
	programtest.Until(t, patience, "the row is as it was", func() bool { return d.offset() > offset })
}

// address is any e-mail address; keys of the fixtures and of Go have none.
var address = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[a-z]{2,}`)

// checkAddresses looks for e-mail addresses wherever carbond keeps or says
// something. The fixtures have some in the places where upstreams have them.
func checkAddresses(t *testing.T, data, db, said string) {
	t.Helper()
	for _, file := range []string{"verra/testdata/retirements_page.json", "news/testdata/news/googlenews_ap.xml"} {
		if !address.Match(fixture(t, file)) {
			t.Errorf("%s has no address: this proves nothing", file)
		}
	}
	said = strings.ReplaceAll(said, db, "") // postgres://name:password@host
	if a := address.FindString(said); a != "" {
		t.Errorf("%s was said or served", a)
	}
	for _, table := range []string{"verra", "carbonmark", "finance", "news", "vintages"} {
		for _, r := range pgtest.Text(t, db, "SELECT t::text FROM "+table+" t") {
			if a := address.FindString(r[0]); a != "" {
				t.Errorf("table %s has %s", table, a)
			}
		}
	}
	files := 0
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		for _, bad := range []string{planted, "example.net", "someone@", "webmaster@"} {
			if bytes.Contains(b, []byte(bad)) {
				t.Errorf("%s holds %s", path, bad)
			}
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files below %s: %v", files, data, err)
	}
}
