// Package browser opens the report of a run in a real browser. It is a module of its
// own, so that driving a browser weighs on nobody who builds holdfast.
package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// REPORT names the page. It opens from disk and asks for nothing else, and a person
// sees in it the timeline, the faults and the table of promises.
func TestReport(t *testing.T) {
	page, err := filepath.Abs(os.Getenv("REPORT"))
	if err != nil || os.Getenv("REPORT") == "" {
		t.Fatal("set REPORT to the report.html of a run")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1100, 1500))
	if path := os.Getenv("CHROMIUM"); path != "" {
		options = append(options, chromedp.ExecPath(path))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a loaded machine starts a browser slowly
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()

	var mu sync.Mutex // events come on the browser's goroutine
	var asked, said []string
	err = chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			asked = append(asked, e.Request.URL)
		case *runtime.EventConsoleAPICalled:
			said = append(said, string(e.Type))
		case *runtime.EventExceptionThrown:
			said = append(said, e.ExceptionDetails.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx,
		chromedp.Navigate("file://"+page),
		chromedp.WaitVisible(chromedp.CSS("#timeline")),
		chromedp.WaitVisible(chromedp.CSS("#promises")),
	)
	if err != nil {
		t.Fatal(err)
	}
	type look struct {
		Title                              string
		Areas, Faults, Rows, Sides, Hidden int
		Labels, Promises                   string
		Wide                               bool
	}
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[look](`(() => {
			const all = s => [...document.querySelectorAll(s)];
			const shown = e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0; };
			return {
				Title: document.title,
				Areas: all("#timeline .row polygon").filter(shown).length,
				Faults: all("#timeline .fault rect").filter(shown).length,
				Labels: all("#timeline .fault text").filter(shown).map(e => e.textContent).join(" "),
				Rows: all("#promises tr").filter(shown).length,
				Sides: all("#sides tr").filter(shown).length,
				Promises: document.querySelector("#promises").innerText,
				Hidden: all("h1, h2, #incident, table#promises, table#sides").filter(e => !shown(e)).length,
				Wide: document.documentElement.scrollWidth > window.innerWidth,
			};
		})()`))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || !strings.HasPrefix(asked[0], "file://") {
		t.Errorf("the page asked for %q: it must need nothing but itself", asked)
	}
	if len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
	if seen.Title == "" {
		t.Error("the page has no title")
	}
	if seen.Areas < 2 {
		t.Errorf("the timeline shows %d providers", seen.Areas)
	}
	if seen.Faults == 0 || seen.Labels == "" {
		t.Errorf("the timeline shows %d faults, labelled %q", seen.Faults, seen.Labels)
	}
	if seen.Rows < 6 || !strings.Contains(seen.Promises, "money difference") || !strings.Contains(seen.Promises, "held") {
		t.Errorf("the table of promises has %d rows:\n%s", seen.Rows, seen.Promises)
	}
	if seen.Sides < 2 {
		t.Error("the table of who could do what is empty")
	}
	if seen.Hidden > 0 {
		t.Errorf("%d parts of the page have no size", seen.Hidden)
	}
	if seen.Wide {
		t.Error("the page is wider than its window")
	}
}
