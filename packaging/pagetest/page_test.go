package pagetest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// screens are what people look at it with.
var screens = map[string]struct {
	width, height int64
	scheme        string
}{
	"light":         {1280, 900, "light"},
	"dark":          {1280, 900, "dark"},
	"narrow, light": {320, 640, "light"},
	"narrow, dark":  {320, 640, "dark"},
}

// worlds are daemons in health and in trouble, and the words that must show.
var worlds = map[string]struct {
	args, env []string
	want      []string
}{
	"demo": {[]string{"demo"}, nil, []string{"SAMPLE DATA", "Ready", "KRBN", "Brazil", "carbon.public.verra"}},
	"no postgres": {
		[]string{"serve"},
		[]string{"CARBOND_POSTGRES_URL=postgres://carbond@127.0.0.1:1/x", "CARBOND_FEEDS_ENABLED=none"},
		[]string{"Not ready", "What to do", "127.0.0.1:1"},
	},
}

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

func TestAccessibility(t *testing.T) {
	axe := axeCore(t)
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "demo" {
				return // the daemon in trouble is for the long form
			}
			url := daemon(t, w.args, w.env)
			for name, s := range screens {
				t.Run(name, func(t *testing.T) {
					ctx := browser(t)
					_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
						Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}},
					})
					must(t, err)
					must(t, chromedp.Do(ctx, chromedp.EmulateViewport(s.width, s.height), chromedp.Navigate(url), chromedp.WaitReady("header button"), chromedp.Evaluate[chromedp.Void](axe)))
					text := get[string](t, ctx, "document.body.innerText")
					overflow := get[string](t, ctx, tooWide)
					dark := get[bool](t, ctx, "matchMedia('(prefers-color-scheme: dark)').matches")
					found := get[string](t, ctx, "axe.run(document).then(r => JSON.stringify(r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html + ' ' + n.failureSummary)])))", chromedp.EvalAwaitPromise)
					if dark != (s.scheme == "dark") {
						t.Error("the scheme is not emulated")
					}
					if found != "[]" {
						t.Errorf("axe: %s", indent(found))
					}
					if overflow != "" {
						t.Errorf("the page is wider than the screen: %s", overflow)
					}
					for _, want := range w.want {
						if !strings.Contains(text, want) {
							t.Errorf("%q does not show", want)
						}
					}
				})
			}
		})
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

// Without its script the page has everything but fresh figures.
func TestWithoutScript(t *testing.T) {
	ctx := browser(t)
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	must(t, chromedp.Do(ctx, chromedp.Navigate(daemon(t, []string{"demo"}, nil)), chromedp.WaitReady("#h-more")))
	text := get[string](t, ctx, "document.body.innerText")
	buttons := get[int](t, ctx, "document.querySelectorAll('button').length")
	if buttons != 0 {
		t.Errorf("%d buttons that do nothing", buttons)
	}
	for _, want := range []string{"SAMPLE DATA", "Ready", "projects", "news/reuters", "Changes, newest first", "grpcurl -plaintext"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not show", want)
		}
	}
}

// With it the figures move, nothing is refused by the policy, Pause holds them,
// and a daemon that is gone is told.
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
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url), chromedp.WaitReady("header button"),
		chromedp.Evaluate[chromedp.Void]("window.first = document.querySelector('#health time').dateTime"),
		until("document.querySelector('#health time').dateTime !== first"),
		chromedp.Click("header button"), until(says("Paused")),
		chromedp.Click("header button"), until(says("Fresh"))))
	d.stop()
	must(t, chromedp.Do(ctx,
		until("document.querySelector('#state .bad') !== null"), until(says("old")),
		until("/No answer from carbond for \\d+ s/.test(document.getElementById('state').textContent)"),
		chromedp.Evaluate[chromedp.Void]("window.said = document.getElementById('state').textContent"),
		until("document.getElementById('state').textContent !== said"),
		until("getComputedStyle(document.getElementById('health')).opacity < 1")))
	select {
	case text := <-logged:
		t.Error(text)
	default:
	}
}

// On a phone a table that was moved to its last column stays there.
func TestScrolledTable(t *testing.T) {
	ctx := browser(t)
	const box = "[...document.querySelectorAll('.wide')].filter(b => b.scrollWidth > b.clientWidth + 100).at(-1)"
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(320, 640), chromedp.Navigate(daemon(t, []string{"demo"}, nil)), chromedp.WaitReady("header button"),
		chromedp.Evaluate[chromedp.Void]("window.first = document.querySelector('#health time').dateTime"),
		chromedp.Evaluate[chromedp.Void](box+".scrollLeft = 90"),
		until("document.querySelector('#health time').dateTime !== first")))
	if at := get[int](t, ctx, box+".scrollLeft"); at != 90 {
		t.Errorf("the table stands at %d, was moved to 90", at)
	}
}

// says is whether the page's own words about its freshness have a text.
func says(text string) string {
	return "document.querySelector('.live').textContent.includes('" + text + "')"
}

func until(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))
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
