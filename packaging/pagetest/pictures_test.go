package pagetest_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const maxPicture = 120 << 10 // bytes

// TestPictures makes the pictures of the README from the demo: into the folder that
// CARBOND_PICTURES names, else to see that they can be made.
func TestPictures(t *testing.T) {
	ctx := browser(t)
	use(t, ctx, "light")
	dir, url := os.Getenv("CARBOND_PICTURES"), ""
	if dir == "" {
		dir, url = t.TempDir(), demo(t)
		filled(t, ctx, url)
	} else { // of a market in which something has happened
		url = start(t, []string{"demo", "--speed", "60"}, nil).url
		filled(t, ctx, url)
		for get[int](t, ctx, "fetch('/v1/finance/KRBN/history?bucket=1m').then(r => r.json()).then(a => a.items.length)", chromedp.EvalAwaitPromise) < 3 {
			must(t, chromedp.Do(ctx, chromedp.Sleep(time.Second)))
		}
	}
	for name, path := range map[string]string{
		"overview": "/", "projects": "/projects", "project": "/projects/VCS-90001", "prices": "/prices", "news": "/news", "changelog": "/changelog", "pipeline": "/pipeline",
	} {
		must(t, chromedp.Do(ctx, chromedp.Navigate(url+strings.TrimPrefix(path, "/")), until(note("Live"))))
		arrive(t, ctx, shows(pages[path]))
		shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		must(t, err)
		small, err := shrink(shot)
		must(t, err)
		if len(small) > maxPicture || len(small) < 5000 {
			t.Errorf("%s: %d bytes", name, len(small))
		}
		must(t, os.WriteFile(filepath.Join(dir, name+".png"), small, 0o644))
	}
}

// shrink encodes a picture with the 256 colours that it has most of.
func shrink(shot []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	b, counts := full.Bounds(), map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	var palette color.Palette
	for c := range counts {
		palette = append(palette, c)
	}
	slices.SortFunc(palette, func(p, q color.Color) int { return counts[q.(color.RGBA)] - counts[p.(color.RGBA)] })
	palette = palette[:min(len(palette), 256)]
	out, nearest := image.NewPaletted(b, palette), map[color.RGBA]uint8{}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := at(x, y)
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c))
				nearest[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	var buf bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&buf, out)
	return buf.Bytes(), err
}
