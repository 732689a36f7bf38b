package testnet

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
)

//go:embed report.html
var reportText string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"short": func(v float64) string { return fmt.Sprintf("%.4g", v) },
	"ms":    milliseconds,
	"join":  join,
	"round": func(d time.Duration) string { return d.Round(time.Millisecond).String() },
}).Parse(reportText))

// reportData is what the page shows.
type reportData struct {
	*Verdict
	Scenario Scenario
	Faults   []band
	Chart    chart
	Matrices []shownMatrix
	Seconds  float64
	Nodes    []Member
	Ours     string // how long we stood still, for people
}

// writeReport writes the run as one page without outside references.
func writeReport(w io.Writer, h *history, v *Verdict) error {
	load := h.loaded()
	d := reportData{
		Verdict: v, Scenario: h.scenario, Nodes: h.manifest.Nodes, Ours: milliseconds(v.MaxGapMs),
		Seconds: time.Duration(load.to - load.from).Seconds(),
	}
	d.Chart = h.chart()
	d.Faults = d.Chart.Bands
	for i := range h.matrices {
		d.Matrices = append(d.Matrices, h.showMatrix(&h.matrices[i]))
	}
	if err := reportPage.Execute(w, d); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

// Sizes of the picture, in its own units.
const (
	chartWidth  = 1000
	chartLeft   = 110 // room for names
	chartTop    = 46  // room for the faults' names
	rowHeight   = 64
	rowGap      = 14
	labelHeight = 13
)

// chart is the timeline as lines to be drawn.
type chart struct {
	Width, Height int
	Rows          []row
	Bands         []band
	Ticks         []tick
	Bottom        int
}

// row is one line of the picture: a provider, or the commits.
type row struct {
	Name     string
	Y        int
	Area     string // throughput, as the points of a polygon
	Line     string // latency, as the points of a line; on a logarithmic scale
	Most     string // what the top of the row stands for
	Slowest  string
	Baseline int
}

// band is a fault in the picture.
type band struct {
	Label         string
	From, To      float64 // seconds
	X, Width      float64
	Y             int
	LabelX        float64
	Height        int
	Starts, Stops string
}

type tick struct {
	X     float64
	Label string
}

// chart draws what clients at each provider got per second, how long it took, and the
// commits.
func (h *history) chart() (c chart) {
	load := h.loaded()
	end := load.to
	for i := range h.ops {
		end = max(end, h.ops[i].Ended)
	}
	seconds := max(1, int(math.Ceil(time.Duration(end-load.from).Seconds())))
	x := func(second float64) float64 {
		return math.Round(10*(chartLeft+(chartWidth-chartLeft)*min(max(second/float64(seconds), 0), 1))) / 10
	}
	c.Bands = h.bands(load.from, seconds, x)
	y := chartTop + labelHeight*max(len(c.Bands)-1, 0)
	for _, p := range h.providers() {
		done, slow := h.perSecond(p, load.from, seconds)
		c.Rows = append(c.Rows, drawRow(p, y, done, slow, "/s", x))
		y += rowHeight + rowGap
	}
	c.Rows = append(c.Rows, drawRow("commits", y, h.commitsPerSecond(load.from, seconds), nil, "/s", x))
	y += rowHeight
	for i := range c.Bands {
		c.Bands[i].Height = y - c.Bands[i].Y
	}
	step := max(1, (seconds/10+4)/5*5)
	for s := 0; s <= seconds; s += step {
		c.Ticks = append(c.Ticks, tick{x(float64(s)), fmt.Sprintf("%d s", s)})
	}
	c.Width, c.Height, c.Bottom = chartWidth, y+24, y
	return c
}

// bands are the faults that lasted, each with its beginning and end.
func (h *history) bands(from int64, seconds int, x func(float64) float64) (out []band) {
	at := func(t int64) float64 { return time.Duration(t - from).Seconds() }
	for i, f := range h.faults {
		if !f.Began || f.Name == "" {
			continue
		}
		b := band{Label: f.Fault.String(), From: at(f.At), To: at(f.At) + 0.5}
		for _, e := range h.faults[i:] {
			if !e.Began && e.Name == f.Name {
				b.To = at(e.At)
			}
		}
		b.X, b.Width = x(b.From), max(2, x(b.To)-x(b.From))
		b.Y = 20 + labelHeight*len(out)
		b.LabelX = min(b.X+3, chartWidth-200)
		b.Starts, b.Stops = fmt.Sprintf("%.1f", b.From), fmt.Sprintf("%.1f", min(b.To, float64(seconds)))
		out = append(out, b)
	}
	return out
}

// perSecond counts the operations of a provider's clients that became final in each
// second, and takes the 99th percentile of how long those asked for in it took.
func (h *history) perSecond(provider string, from int64, seconds int) (done, slow []float64) {
	done, slow = make([]float64, seconds), make([]float64, seconds)
	took := make([][]time.Duration, seconds)
	second := func(t int64) int { return int(time.Duration(t-from) / time.Second) }
	for i := range h.ops {
		o := &h.ops[i]
		if o.Provider != provider || o.Status != api.OpFinal {
			continue
		}
		if s := second(o.Ended); s >= 0 && s < seconds {
			done[s]++
		}
		if s := second(o.Invoked); s >= 0 && s < seconds {
			took[s] = append(took[s], time.Duration(o.Ended-o.Invoked))
		}
	}
	for s := range took {
		slices.Sort(took[s])
		slow[s] = percentile(took[s], 0.99).Seconds()
	}
	return done, slow
}

func (h *history) commitsPerSecond(from int64, seconds int) []float64 {
	out := make([]float64, seconds)
	for _, at := range h.firstSeen() {
		if s := int(time.Duration(at-from) / time.Second); at >= from && s < seconds {
			out[s]++
		}
	}
	return out
}

// drawRow draws a row: an area, and a line on a logarithmic scale from a millisecond
// to a hundred seconds.
func drawRow(name string, y int, area, line []float64, unit string, x func(float64) float64) row {
	most := max(1, slices.Max(append(area, 0)))
	r := row{Name: name, Y: y, Baseline: y + rowHeight, Most: fmt.Sprintf("%.0f%s", most, unit)}
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f,%d ", x(0), r.Baseline)
	for s, v := range area {
		fmt.Fprintf(&b, "%.1f,%.1f ", x(float64(s)+0.5), float64(r.Baseline)-v/most*rowHeight)
	}
	fmt.Fprintf(&b, "%.1f,%d", x(float64(len(area))), r.Baseline)
	r.Area = b.String()
	b.Reset()
	worst := 0.0
	for s, v := range line {
		if v <= 0 {
			continue
		}
		worst = max(worst, v)
		up := (math.Log10(min(max(v, 0.001), 100)) + 3) / 5
		fmt.Fprintf(&b, "%.1f,%.1f ", x(float64(s)+0.5), float64(r.Baseline)-up*rowHeight)
	}
	r.Line = b.String()
	if worst > 0 {
		r.Slowest = "p99 up to " + milliseconds(worst*1e3)
	}
	return r
}

// shownMatrix is a matrix for the page.
type shownMatrix struct {
	Label  string
	Head   []string
	Rows   []shownRow
	Faults []string // what it contradicts
}

type shownRow struct {
	Name  string
	Cells []shownCell
}

type shownCell struct{ Text, Class string }

func (h *history) showMatrix(m *Matrix) (out shownMatrix) {
	out.Label, out.Faults = m.Label, slices.Concat(m.Contradictions(), m.Unbitten())
	for _, n := range h.manifest.Nodes {
		out.Head = append(out.Head, fmt.Sprintf("%d %s", n.Number, n.Provider))
	}
	for i, cells := range m.Cells {
		r := shownRow{Name: out.Head[i]}
		for j, c := range cells {
			r.Cells = append(r.Cells, showCell(i, j, c))
		}
		out.Rows = append(out.Rows, r)
	}
	return out
}

func showCell(i, j int, c Cell) shownCell {
	switch {
	case i == j:
		return shownCell{"", "self"}
	case c.Sent == 0:
		return shownCell{"away", "away"}
	case c.Heard == 0:
		return shownCell{"cut", "cut"}
	}
	text := fmt.Sprintf("%d %%, %.1f ms", (100*c.Heard+c.Sent/2)/c.Sent, c.DelayMs)
	if c.Heard < c.Sent {
		return shownCell{text, "lossy"}
	}
	return shownCell{text, "well"}
}
