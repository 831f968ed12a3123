package console

import (
	"fmt"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// Charts that need no script. The drawing is for the eye alone: words beside it say
// what it shows.

func svg(class string, width, height int, inner ...g.Node) g.Node {
	return g.El("svg", h.Class(class), h.Aria("hidden", "true"), g.Attr("viewBox", fmt.Sprintf("0 0 %d %d", width, height)), g.Attr("preserveAspectRatio", "none"), g.Group(inner))
}

// line draws values from left to right; a value that is not known is a gap.
func line(class string, width, height int, values []float64, known func(int) bool) g.Node {
	low, high, any := 0.0, 0.0, false
	for i, v := range values {
		if known(i) {
			if !any {
				low, high, any = v, v, true
			}
			low, high = min(low, v), max(high, v)
		}
	}
	if class == "chart" {
		low = min(low, 0) // a chart of amounts begins at nothing, a sparkline need not
	}
	var d strings.Builder
	pen := false
	for i, v := range values {
		if !known(i) {
			pen = false
			continue
		}
		x, y := 0.0, float64(height)/2
		if len(values) > 1 {
			x = float64(width) * float64(i) / float64(len(values)-1)
		}
		if high > low {
			y = 1 + float64(height-2)*(1-(v-low)/(high-low))
		} else if class == "chart" && high == 0 {
			y = float64(height) - 1
		}
		cmd := "L"
		if !pen {
			cmd = "M"
		}
		pen = true
		fmt.Fprintf(&d, "%s%s %s", cmd, strconv.FormatFloat(x, 'f', 0, 64), strconv.FormatFloat(y, 'f', 1, 64))
	}
	return svg(class, width, height, g.El("path", g.Attr("d", d.String())))
}

// strip draws one box for each class in a row: "good", "warn", "bad" or "" for
// nothing known. Equal neighbours are one box.
func strip(classes []string) g.Node {
	const width = 288
	var boxes g.Group
	for i := 0; i < len(classes); {
		j := i
		for j < len(classes) && classes[j] == classes[i] {
			j++
		}
		if classes[i] != "" {
			x0, x1 := width*i/len(classes), width*j/len(classes)
			boxes = append(boxes, g.El("rect", h.Class(classes[i]), g.Attr("x", strconv.Itoa(x0)), g.Attr("width", strconv.Itoa(x1-x0)), g.Attr("height", "10")))
		}
		i = j
	}
	return svg("strip", width, 10, boxes)
}

// sparkline is a line as large as a word.
func sparkline(values []float64) g.Node {
	return line("spark", 100, 24, values, func(int) bool { return true })
}

// bar is a horizontal bar for a share of 0 to 1.
func bar(share float64) g.Node {
	return svg("bar", 100, 8, g.El("rect", g.Attr("width", strconv.FormatFloat(100*max(0, min(1, share)), 'f', 1, 64)), g.Attr("height", "8")))
}
