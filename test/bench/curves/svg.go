package main

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// The chart's size and the margins around its plot.
const (
	width, height            = 640, 320
	left, right, top, bottom = 70, 20, 40, 45
)

var colors = []string{"#1f5fa8", "#c0504d", "#4f8f3a"}

// draw makes the chart, both axes logarithmic and marked at powers of ten.
func (c curve) draw(ls []line) []byte {
	lo, hi := point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	for _, l := range ls {
		for _, p := range l.at {
			lo = point{min(lo.x, p.x), min(lo.y, p.y)}
			hi = point{max(hi.x, p.x), max(hi.y, p.y)}
		}
	}
	x0, x1 := math.Floor(math.Log10(lo.x)), math.Ceil(math.Log10(hi.x))
	y0, y1 := math.Floor(math.Log10(lo.y)), max(math.Ceil(math.Log10(hi.y)), math.Floor(math.Log10(lo.y))+1)
	x := func(v float64) float64 { return left + (math.Log10(v)-x0)/(x1-x0)*(width-left-right) }
	y := func(v float64) float64 { return height - bottom - (math.Log10(v)-y0)/(y1-y0)*(height-top-bottom) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	text := func(tx, ty float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="#222222">%s</text>`+"\n", tx, ty, anchor, s)
	}
	text(left, 22, "start", c.title+", "+c.y)
	text(width-right, height-8, "end", c.x)
	grid := func(ax, ay, bx, by float64) {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#dddddd"/>`+"\n", ax, ay, bx, by)
	}
	for e := x0; e <= x1; e++ {
		at := x(math.Pow(10, e))
		grid(at, top, at, height-bottom)
		text(at, height-bottom+18, "middle", thousands(math.Pow(10, e)))
	}
	for e := y0; e <= y1; e++ {
		at := y(math.Pow(10, e))
		grid(left, at, width-right, at)
		text(left-8, at+4, "end", thousands(math.Pow(10, e)))
	}
	for i, l := range ls {
		color := colors[i%len(colors)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, color)
		for _, p := range l.at {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.x), y(p.y))
		}
		b.WriteString(`"/>` + "\n")
		for _, p := range l.at {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(p.x), y(p.y), color)
			text(x(p.x), y(p.y)-8, "middle", figures(p.y))
		}
		if l.name != "" {
			fmt.Fprintf(&b, `<text x="%d" y="22" text-anchor="end" fill="%s">%s</text>`+"\n", width-right-60*i, color, l.name)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// thousands writes a power of ten.
func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if v < 1 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// figures writes three digits that matter.
func figures(v float64) string {
	return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(v)))), 64)
}
