// Package browsertest looks at the guestbook through a headless Chromium.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"redstart.dev/redstart/internal/guestbook/redistest"
)

// Window is a window of a browser, which lives as long as the test.
type Window struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // a chromedp context is the window
}

// Start opens a window of a Chromium that knows nothing and talks to nobody but the test. It skips the test where there
// is no Chromium.
func Start(t testing.TB) *Window {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium on PATH")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(time.Minute))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		// Wait for the process to be gone: its directory is removed after this.
		closing, stop := context.WithTimeout(ctx, 20*time.Second)
		defer stop()
		if err := chromedp.Cancel(closing); err != nil {
			t.Logf("close browser: %v", err)
		}
		cancel()
	})
	if _, err := chromedp.Run(ctx, chromedp.Location()); err != nil { // starts it; its life is that of this context
		t.Fatalf("start browser: %v", err)
	}
	return &Window{t, ctx}
}

// Another opens another window of the same browser, with the same cookies.
func (w *Window) Another() *Window {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(w.ctx)
	w.t.Cleanup(cancel)
	if _, err := chromedp.Run(ctx, chromedp.Location()); err != nil {
		w.t.Fatalf("open window: %v", err)
	}
	return &Window{w.t, ctx}
}

// Open goes to the list of messages at a URL.
func (w *Window) Open(url string) {
	w.t.Helper()
	w.Do(chromedp.Navigate(url), chromedp.WaitReady("#messages"))
}

// Do does one thing after the other.
func (w *Window) Do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	for i, action := range actions {
		if _, err := run(w.ctx, action); err != nil {
			w.t.Fatalf("browser, step %d: %v", i+1, err)
		}
	}
}

// run bounds one action.
func run[T any](ctx context.Context, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// Location is the URL that is shown.
func (w *Window) Location() string {
	w.t.Helper()
	url, err := run(w.ctx, chromedp.Location())
	if err != nil {
		w.t.Fatal(err)
	}
	return url
}

// See waits until a JavaScript expression is true.
func (w *Window) See(what, expression string) {
	w.t.Helper()
	redistest.Wait(w.t, what, func() bool {
		ok, err := run(w.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil {
			w.t.Fatalf("look for %s: %v", what, err)
		}
		return ok
	})
}

// Times is an expression for how often the text stands in the list.
func Times(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#messages .text")].filter(p => p.textContent === %q).length`, text)
}

// Shows is an expression for whether the page says that it is of a release.
func Shows(release string) string {
	return fmt.Sprintf(`document.getElementById("release").textContent === %q`, release)
}

// Headers sends headers with every request from now on, and no others.
func (w *Window) Headers(headers map[string]any) {
	w.t.Helper()
	if headers == nil {
		headers = map[string]any{}
	}
	w.Do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers})
		return chromedp.Void{}, err
	})
}

// Write fills in the form and sends it.
func (w *Window) Write(name, text string) {
	w.t.Helper()
	empty := fmt.Sprintf(`document.getElementById("name").value = %q, document.getElementById("text").value = "", true`, name)
	if _, err := run(w.ctx, chromedp.Evaluate[bool](empty)); err != nil {
		w.t.Fatal(err)
	}
	w.Do(chromedp.SendKeys("#text", text), chromedp.Click("#submit"))
}

// Picture keeps a screenshot in the directory that GUESTBOOK_PICTURES names, if it names one.
func (w *Window) Picture(name string) {
	w.t.Helper()
	dir := os.Getenv("GUESTBOOK_PICTURES")
	if dir == "" {
		return
	}
	png, err := run(w.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// Screen makes the window a phone's or a desktop's, light or dark.
func (w *Window) Screen(width, height int64, dark bool) {
	w.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	w.Do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, target, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 2, Mobile: width < 600,
		}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	})
}
