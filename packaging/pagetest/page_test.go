package pagetest_test

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// screens are what people look at it with.
var screens = map[string]struct {
	width, height int64
	scheme        string
}{
	"light":        {1280, 900, "light"},
	"dark":         {1280, 900, "dark"},
	"phone, light": {320, 640, "light"},
	"phone, dark":  {320, 640, "dark"},
}

// pages is every page, and a text that it must show in the demo.
var pages = map[string]string{
	"/":         "Movers of the day",
	"/projects": "ACR-90",
	"/projects?column=project_name&order=-supply&q=forest": "Forest",
	"/projects/VCS-90001": "Registry status",
	"/prices":             "KRBN",
	"/prices/KRBN":        "Market cap",
	"/news":               "Verdant Wire",
	"/changelog":          "public.finance",
	"/pipeline":           "carbon.public.verra",
}

// lost is addresses that lead to no content, and what their pages say.
var lost = map[string]string{"/nowhere": "no such page", "/projects?order=size": "is not one of", "/projects/none": "no project has"}

// tooWide lists what reaches beyond the screen, "" for nothing. What scrolls by
// itself may.
const tooWide = `(() => {
	if (document.documentElement.scrollWidth <= innerWidth) return "";
	const out = [document.documentElement.scrollWidth + " of " + innerWidth + " pixels"], range = document.createRange();
	for (const w = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); w.nextNode();) {
		range.selectNodeContents(w.currentNode);
		const box = range.getBoundingClientRect();
		if (box.right > innerWidth && !w.currentNode.parentElement.closest(".wide, pre, svg"))
			out.push(w.currentNode.parentElement.outerHTML.slice(0, 200));
	}
	return out.join("\n");
})()`

// look finds what is wrong with the page that ctx shows.
func look(t *testing.T, ctx context.Context, axe string) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](axe)))
	if found := get[string](t, ctx, "axe.run(document).then(r => JSON.stringify(r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html + ' ' + n.failureSummary)])))", chromedp.EvalAwaitPromise); found != "[]" {
		t.Errorf("axe: %s", indent(found))
	}
	if overflow := get[string](t, ctx, tooWide); overflow != "" {
		t.Errorf("the page is wider than the screen: %s", overflow)
	}
}

// use makes a browser one of the screens.
func use(t *testing.T, ctx context.Context, screen string) {
	t.Helper()
	s := screens[screen]
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}},
	})
	must(t, err)
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(s.width, s.height)))
}

// filled waits until the demo has rows of everything.
func filled(t *testing.T, ctx context.Context, url string) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Navigate(url), until("['mover', 'story', 'by-country'].every(id => document.querySelectorAll('#' + id + ' tr').length > 5)")))
}

// TestAccessibility: nothing to say against any page, on any screen.
func TestAccessibility(t *testing.T) {
	axe, url := axeCore(t), demo(t)
	for screen := range screens {
		t.Run(screen, func(t *testing.T) {
			ctx := browser(t)
			use(t, ctx, screen)
			filled(t, ctx, url)
			all := maps.Clone(pages)
			maps.Copy(all, lost)
			for path, want := range all {
				t.Run(path, func(t *testing.T) {
					must(t, chromedp.Do(ctx, chromedp.Navigate(url+strings.TrimPrefix(path, "/")), chromedp.WaitReady("header button"), until(shows("SAMPLE DATA")), until(shows(want)), until(shows("Ready"))))
					if dark := get[bool](t, ctx, "getComputedStyle(document.body).backgroundColor === 'rgb(18, 22, 20)'"); dark != (screens[screen].scheme == "dark") {
						t.Error("the colours are not those of the scheme")
					}
					look(t, ctx, axe)
					keep(ctx, screen+" "+strings.NewReplacer("/", " ", "?", " ").Replace(path))
				})
			}
		})
	}
}

// Each page in trouble says so first, with what to do.
func TestNoPostgres(t *testing.T) {
	axe, url := axeCore(t), start(t, []string{"serve"}, []string{"CARBOND_POSTGRES_URL=postgres://carbond@127.0.0.1:1/x", "CARBOND_FEEDS_ENABLED=none"}).url
	ctx := browser(t)
	for _, screen := range []string{"light", "phone, dark"} {
		use(t, ctx, screen)
		for path := range pages { // those with rows say that there are none yet
			must(t, chromedp.Do(ctx, chromedp.Navigate(url+strings.TrimPrefix(path, "/")), chromedp.WaitReady("header button"), until(shows("Not ready"))))
			look(t, ctx, axe)
		}
		for _, path := range []string{"", "pipeline"} {
			must(t, chromedp.Do(ctx, chromedp.Navigate(url+path), until(shows("What to do")), until(shows("127.0.0.1:1"))))
		}
	}
}

func indent(s string) string {
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}

// Without its script each page has everything but fresh figures, and no button that
// does nothing.
func TestWithoutScript(t *testing.T) {
	ctx, url := browser(t), demo(t)
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	for path, want := range pages {
		text := ""
		for end := time.Now().Add(time.Minute); !strings.Contains(text, want) && time.Now().Before(end); { // the demo fills its tables
			must(t, chromedp.Do(ctx, chromedp.Navigate(url+strings.TrimPrefix(path, "/")), chromedp.WaitReady("footer")))
			text = get[string](t, ctx, "document.body.innerText")
		}
		if n := get[int](t, ctx, "document.querySelectorAll('button:not([type=submit])').length"); n != 0 {
			t.Errorf("%s: %d buttons that do nothing", path, n)
		}
		for _, want := range []string{"SAMPLE DATA", "Ready", want} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not show", path, want)
			}
		}
	}
}

// With it the figures move without a reload, nothing is refused by the policy, Pause
// holds them, and a daemon that is gone is red.
func TestLive(t *testing.T) {
	ctx := browser(t)
	logged := make(chan string, 100)
	must(t, chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Source == log.EntrySourceSecurity {
			select {
			case logged <- e.Entry.Text:
			default:
			}
		}
	}))
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	must(t, err)
	d := start(t, []string{"demo"}, nil)
	const facts = "document.getElementById('facts').textContent"
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"pipeline"), until(note("Live")),
		chromedp.Evaluate[chromedp.Void]("window.first = "+facts),
		until(facts+" !== first"),
		chromedp.Click("#live button"), until(note("Paused")),
		chromedp.Click("#live button"), until(note("Live")),
		until("window.first !== undefined"))) // it is the same document still
	d.end(syscall.SIGTERM)
	must(t, chromedp.Do(ctx,
		until("document.querySelector('#state .bad') !== null"), until(note("old")),
		until("/No answer from carbond for \\d+ s/.test(document.getElementById('state').textContent)"),
		chromedp.Evaluate[chromedp.Void]("window.said = document.getElementById('state').textContent"),
		until("document.getElementById('state').textContent !== said"),
		until("getComputedStyle(document.querySelector('main')).filter === 'grayscale(1)'")))
	select {
	case text := <-logged:
		t.Error(text)
	default:
	}
}

// TestProjects: what people do with the list, each step in the address, and back again; at
// a desk, on a phone, and without a script.
func TestProjects(t *testing.T) {
	url := demo(t)
	filled(t, browser(t), url)
	for name, script := range map[string]bool{"light": true, "phone, dark": true, "phone, light": false} {
		t.Run(name, func(t *testing.T) { findProject(t, url, name, script) })
	}
}

func findProject(t *testing.T, url, screen string, script bool) {
	ctx := browser(t)
	use(t, ctx, screen)
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script})
	must(t, err)
	const ids = "[...document.querySelectorAll('#project th')].map(c => c.textContent)"
	cell := func(column string) string {
		return "[...document.querySelectorAll('#project tr')].map(r => r.children[[...document.querySelectorAll('thead th')].findIndex(c => c.textContent === '" + column + "')].textContent)"
	}
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"projects")))
	arrive(t, ctx, "document.querySelectorAll('#project tr').length > 20 && "+note(map[bool]string{true: "Live"}[script]))
	must(t, chromedp.Do(ctx, chromedp.SetValue("input[name=country]", "Brazil"), press("Filter")))
	arrive(t, ctx, "location.search.includes('country=Brazil') && "+cell("Country")+".every(c => c === 'Brazil')")
	must(t, chromedp.Do(ctx, press("Supply")))
	arrive(t, ctx, "location.search.includes('order=supply')")
	must(t, chromedp.Do(ctx, press("Supply")))
	arrive(t, ctx, "location.search.includes('order=-supply')")
	if supply := get[[]string](t, ctx, cell("Supply")); len(supply) < 2 || !sortedDown(supply) {
		t.Errorf("the supply is in the order %q", supply)
	}
	first := get[[]string](t, ctx, ids)[0]
	must(t, chromedp.Do(ctx, press(first)))
	arrive(t, ctx, "location.pathname === '/projects/"+first+"' && "+shows("Registry status"))
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("history.back()")))
	arrive(t, ctx, "location.search.includes('order=-supply') && "+cell("Country")+".every(c => c === 'Brazil')")
	must(t, chromedp.Do(ctx, press("Clear")))
	arrive(t, ctx, "location.search === ''")
	top := get[string](t, ctx, ids+"[0]")
	must(t, chromedp.Do(ctx, press("Next page")))
	arrive(t, ctx, "location.search.includes('page_token=') && "+ids+"[0] > '"+top+"'")
	must(t, chromedp.Do(ctx, press("First page")))
	arrive(t, ctx, ids+"[0] === '"+top+"'")
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("history.go(-3)")))
	arrive(t, ctx, "location.search.includes('order=-supply')")
	if !script {
		return // and nothing can fetch
	}
	body := get[string](t, ctx, "fetch([...document.querySelectorAll('a')].find(a => a.textContent.includes('CSV')).href).then(r => r.text())", chromedp.EvalAwaitPromise)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if rows := get[int](t, ctx, ids+".length"); len(lines) != rows+1 || !strings.HasPrefix(lines[0], "project_id,") || !strings.HasPrefix(lines[1], first+",") {
		t.Errorf("%d rows, and as CSV %q", rows, lines)
	}
}

func sortedDown(numbers []string) bool {
	last := math.Inf(1)
	for _, n := range numbers {
		v, err := strconv.ParseFloat(strings.ReplaceAll(n, ",", ""), 64)
		if n == "\u2013" { // not known, which comes last
			v, err = -1, nil
		}
		if err != nil || v > last {
			return false
		}
		last = v
	}
	return true
}

// TestChangelog: new records come to the top by themselves, wait while the reader is
// among them, and an earlier part stands still.
func TestChangelog(t *testing.T) {
	ctx := browser(t)
	const first = "document.querySelector('#record th').textContent"
	must(t, chromedp.Do(ctx, chromedp.Navigate(demo(t)+"changelog"), until(note("Live")),
		chromedp.Evaluate[chromedp.Void]("window.top0 = "+first), until(first+" > top0"),
		chromedp.Evaluate[chromedp.Void]("getSelection().selectAllChildren(document.querySelector('#record tr')); window.top1 = "+first),
		until(shows("new records wait")), until(first+" === top1"),
		chromedp.Evaluate[chromedp.Void]("getSelection().removeAllRanges()"), until(first+" > top1")))
	offsets := get[[]float64](t, ctx, "[...document.querySelectorAll('#record th')].map(c => Number(c.textContent))")
	seen := map[float64]bool{}
	for i, o := range offsets {
		if seen[o] || i > 0 && o > offsets[i-1] {
			t.Fatalf("offsets %v", offsets)
		}
		seen[o] = true
	}
	must(t, chromedp.Do(ctx, press("Earlier")))
	arrive(t, ctx, "location.search.includes('from=') && "+shows("In the order of their offsets"))
	must(t, chromedp.Do(ctx, press("Later")))
	arrive(t, ctx, shows("In the order of their offsets"))
	const least = "Math.min(...[...document.querySelectorAll('#record th')].map(c => Number(c.textContent)))"
	if !get[bool](t, ctx, "Promise.all([...document.querySelectorAll('a[download]')].map(a => fetch(a.href).then(r => r.json()))).then(all => Math.min(...all.flatMap(a => a.items.map(i => i.offset))) === "+least+")", chromedp.EvalAwaitPromise) {
		t.Error("the downloads do not begin where the page does")
	}
}

// TestWeight: what a first look at each page brings is at most 150 kB, and a message of
// a live page at most 2 kB.
func TestWeight(t *testing.T) {
	ctx := browser(t)
	url := demo(t)
	largest := 0
	must(t, chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*network.EventEventSourceMessageReceived); ok {
			largest = max(largest, len(e.EventName)+len(e.Data)+len("event: \ndata: \n\n"))
		}
	}))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(t, err)
	for path := range pages {
		must(t, chromedp.Do(ctx, chromedp.Navigate(url+strings.TrimPrefix(path, "/")), until(note("Live"))))
		size := get[int](t, ctx, "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource')).filter(e => e.initiatorType !== 'eventsource').reduce((n, e) => n + e.decodedBodySize, 0)")
		t.Logf("%s: %d bytes", path, size)
		if size > 150_000 || size < 10_000 {
			t.Errorf("%s: %d bytes", path, size)
		}
		must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("window.fresh = 0; document.documentElement.addEventListener('fresh', () => fresh++)"), until("fresh > 0")))
	}
	t.Logf("the largest message has %d bytes", largest)
	if largest > 2048 || largest < 100 {
		t.Errorf("the largest message has %d bytes", largest)
	}
}

// TestChart: the drawing of the server becomes a chart to zoom into, in each range.
func TestChart(t *testing.T) {
	ctx := browser(t)
	must(t, chromedp.Do(ctx, chromedp.Navigate(demo(t)+"prices")))
	arrive(t, ctx, shows("KRBN"))
	must(t, chromedp.Do(ctx, press("KRBN")))
	for _, name := range []string{"all", "1w", "1d"} {
		arrive(t, ctx, "document.querySelector('#chart') !== null")
		must(t, chromedp.Do(ctx, press(name)))
		arrive(t, ctx, "document.querySelector('#chart [aria-current]').textContent === '"+name+"'")
	}
	for end := time.Now().Add(3 * time.Minute); !get[bool](t, ctx, "document.querySelector('#chart canvas') !== null"); { // two minutes make a line
		if time.Now().After(end) {
			t.Fatal("no chart")
		}
		must(t, chromedp.Do(ctx, chromedp.Sleep(2*time.Second), chromedp.Reload()))
	}
	must(t, chromedp.Do(ctx, press("Dark"), until("document.querySelector('#chart canvas') !== null"), until(note("Live"))))
}

// TestEarlier: a page as of another moment says so, and so do the pages that it leads to.
func TestEarlier(t *testing.T) {
	ctx := browser(t)
	url := demo(t)
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"changelog"), until("document.querySelector('#record th') !== null")))
	offset := get[string](t, ctx, "document.querySelector('#record th').textContent")
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"prices"), chromedp.SetValue("input[name=as_of]", offset), press("Go back")))
	arrive(t, ctx, shows("As of offset "+offset)+" && document.querySelectorAll('#price tr').length > 0")
	first := get[string](t, ctx, "document.getElementById('price').textContent")
	must(t, chromedp.Do(ctx, press("Projects")))
	arrive(t, ctx, "location.pathname === '/projects' && "+shows("As of offset "+offset))
	must(t, chromedp.Do(ctx, press("Prices")))
	arrive(t, ctx, "location.pathname === '/prices' && "+shows("As of offset "+offset))
	if again := get[string](t, ctx, "[...document.querySelectorAll('#price tr')].map(r => r.children[1].textContent).join()"); again == "" || first == "" {
		t.Error("no prices of then")
	}
	must(t, chromedp.Do(ctx, press("Now")))
	arrive(t, ctx, "!location.search.includes('as_of') && !"+shows("As of offset"))
}

// TestPoll: a feed is polled at once, and the page is there again.
func TestPoll(t *testing.T) {
	ctx := browser(t)
	must(t, chromedp.Do(ctx, chromedp.Navigate(demo(t)+"pipeline"), until(note("Live")), press("Poll")))
	arrive(t, ctx, "location.hash === '#h-feeds' && "+shows("Pollers of the upstreams"))
}

// TestToken: where tokens are configured each page asks for one, once.
func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("ops read a-long-random-text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	axe, ctx := axeCore(t), browser(t)
	url := start(t, []string{"demo"}, []string{"CARBOND_GRPC_TOKENS_FILE=" + file}).url
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"prices"), until("document.querySelector('input[name=token]') !== null")))
	look(t, ctx, axe)
	if get[bool](t, ctx, shows("KRBN")) {
		t.Error("rows show without a token")
	}
	must(t, chromedp.Do(ctx, chromedp.SetValue("input[name=token]", "wrong"), press("Enter")))
	arrive(t, ctx, shows("not known here"))
	must(t, chromedp.Do(ctx, chromedp.SetValue("input[name=token]", "a-long-random-text"), press("Enter")))
	arrive(t, ctx, "document.querySelector('input[name=token]') === null")
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"prices"), until(shows("KRBN")), until(note("Live"))))
	if get[bool](t, ctx, "document.cookie.includes('carbond_token')") {
		t.Error("a script can read the token")
	}
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"pipeline"), until(note("Live")), press("Poll")))
	arrive(t, ctx, shows("needs a token with the scope admin"))
}

// TestFailingFeed: a feed whose upstream is gone is told at the top of each page, with what to do.
func TestFailingFeed(t *testing.T) {
	ctx := browser(t)
	url := start(t, []string{"serve"}, []string{"CARBOND_FEEDS_ENABLED=verra", "CARBOND_FEEDS_VERRA_URL=http://127.0.0.1:1/"}).url
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"pipeline"), until(note("Live")), until(shows("never worked")), until(shows("carbond feeds fetch verra")),
		until("document.querySelector('#feed .warn') !== null"), chromedp.Navigate(url), until(shows("What to do")), until("document.title.includes('most sources')")))
}

// On a phone a table that was moved to its last column stays there, and a row under
// the pointer stays as it is.
func TestUnderTheHand(t *testing.T) {
	ctx := browser(t)
	const box = "document.getElementById('topic').closest('.wide')"
	const row = "document.querySelector('#topic tr')"
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(320, 640), chromedp.Navigate(demo(t)+"pipeline"), until(note("Live")),
		chromedp.Evaluate[chromedp.Void](box+".scrollLeft = 90"),
		chromedp.Evaluate[chromedp.Void]("window.rows = document.getElementById('topic').textContent"),
		until("document.getElementById('topic').textContent !== rows")))
	if at := get[int](t, ctx, box+".scrollLeft"); at != 90 {
		t.Errorf("the table stands at %d, was moved to 90", at)
	}
	// What is selected is in use.
	must(t, chromedp.Do(ctx,
		chromedp.Evaluate[chromedp.Void]("getSelection().selectAllChildren("+row+"); window.kept = "+row+".querySelector('td').textContent"),
		chromedp.Evaluate[chromedp.Void]("window.facts = document.getElementById('facts').textContent"),
		until("document.getElementById('facts').textContent !== facts"), until("waiting.size > 0"),
		until(row+".querySelector('td').textContent === kept"),
		chromedp.Evaluate[chromedp.Void]("getSelection().removeAllRanges()"), until("waiting.size === 0")))
}

// The theme that the reader chose is that of the next page too.
func TestTheme(t *testing.T) {
	ctx := browser(t)
	use(t, ctx, "light")
	const ground = "getComputedStyle(document.body).backgroundColor"
	url := demo(t)
	must(t, chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitReady("header button"), until(ground+" === 'rgb(255, 255, 255)'"),
		chromedp.Click("#live button:last-child"), until(ground+" === 'rgb(18, 22, 20)'"),
		chromedp.Navigate(url+"pipeline"), until(ground+" === 'rgb(18, 22, 20)'")))
}

// press clicks the link or button with a text.
func press(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void]("[...document.querySelectorAll('a, button')].find(a => a.textContent === '" + text + "').click()")
}

// shows is whether the page shows a text.
func shows(text string) string {
	b, _ := json.Marshal(text)
	return "document.body.innerText.includes(" + string(b) + ")"
}

// note is whether the page's own words about its freshness have a text.
func note(text string) string {
	return "document.getElementById('live').textContent.includes('" + text + "')"
}

func until(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))
}

// arrive waits for a page that a click leads to: the script of the one before ends
// meanwhile.
func arrive(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.readyState === 'complete' && "+expression))
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v: not %s", err, expression)
		}
		must(t, chromedp.Do(ctx, chromedp.Sleep(100*time.Millisecond)))
	}
}

func get[T any](t *testing.T, ctx context.Context, expression string, opts ...chromedp.EvaluateOption) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, opts...))
	must(t, err)
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
