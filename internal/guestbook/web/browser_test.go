package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"redstart.dev/redstart/internal/guestbook/redistest"
)

// browser starts a Chromium that knows nothing and talks to nobody but the test.
func browser(t *testing.T) context.Context {
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
	return ctx
}

// window opens another one in the same browser, with the same cookies.
func window(t *testing.T, browser context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	if _, err := chromedp.Run(ctx, chromedp.Location()); err != nil {
		t.Fatalf("open window: %v", err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	for i, action := range actions {
		if _, err := run(ctx, action); err != nil {
			t.Fatalf("browser, step %d: %v", i+1, err)
		}
	}
}

// run bounds one action.
func run[T any](ctx context.Context, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// see waits until a JavaScript expression is true in a window.
func see(t *testing.T, ctx context.Context, what, expression string) {
	t.Helper()
	redistest.Wait(t, what, func() bool {
		ok, err := run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil {
			t.Fatalf("look for %s: %v", what, err)
		}
		return ok
	})
}

// times is an expression for how often the text stands in the list.
func times(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#messages .text")].filter(p => p.textContent === %q).length`, text)
}

func write(t *testing.T, ctx context.Context, name, text string) {
	t.Helper()
	clear := fmt.Sprintf(`document.getElementById("name").value = %q, document.getElementById("text").value = "", true`, name)
	if _, err := run(ctx, chromedp.Evaluate[bool](clear)); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.SendKeys("#text", text), chromedp.Click("#submit"))
}

// picture keeps a screenshot in the directory that GUESTBOOK_PICTURES names, if it names one.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("GUESTBOOK_PICTURES")
	if dir == "" {
		return
	}
	png, err := run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// screen makes a window a phone or a desktop, light or dark.
func screen(width, height int64, dark bool) chromedp.Action[chromedp.Void] {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, target, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 2, Mobile: width < 600}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return chromedp.Void{}, err
	}
}

func TestBrowser(t *testing.T) {
	first := browser(t)
	g := newGuestbook(t)
	second := window(t, first)
	do(t, first, screen(390, 780, false), chromedp.Navigate(g.url), chromedp.WaitReady("#messages"))
	do(t, second, screen(1100, 900, true), chromedp.Navigate(g.url+"/?lang=zh"), chromedp.WaitReady("#messages"))
	picture(t, first, "1-empty-phone-en-light")

	write(t, first, "Ada", "Hello from the first window")
	see(t, first, "the writer sees the message", times("Hello from the first window")+" === 1")
	see(t, first, "the form is empty again", `document.getElementById("text").value === ""`)
	see(t, second, "the other window sees it without reloading", times("Hello from the first window")+" === 1")

	nasty := `<script>document.title = "broken"</script> & <b>bold</b>`
	write(t, second, "王小明", nasty)
	see(t, first, "markup is shown as it was typed", times(nasty)+" === 1")
	see(t, first, "no script of a visitor ran", `document.title !== "broken"`)
	write(t, second, "", "今天天气很好，路过留个名。\n希望大家都好！")
	see(t, first, "the third message", times("今天天气很好，路过留个名。\n希望大家都好！")+" === 1")

	// The master dies while a message is on its way.
	g.master.Kill()
	see(t, second, "the page says that the database is changing its master", `document.getElementById("status").dataset.state === "changing"`)
	write(t, first, "Ada", "Written while there was no master")
	see(t, first, "the page says that it retries", `document.getElementById("state-box").dataset.state === "retry"`)
	see(t, first, "the message is still in the form", `document.getElementById("text").value.startsWith("Written while")`)
	see(t, first, "it was not said to be kept", times("Written while there was no master")+" === 0")
	picture(t, first, "2-failover-phone-en-light")
	picture(t, second, "2-failover-desktop-zh-dark")
	g.failover()
	for name, w := range map[string]context.Context{"first": first, "second": second} {
		see(t, w, name+" window sees the new message once", times("Written while there was no master")+" === 1")
		see(t, w, name+" window sees the old message once", times("Hello from the first window")+" === 1")
		see(t, w, name+" window shows the new master", fmt.Sprintf(`document.getElementById("status-text").textContent.includes(%q)`, g.master.Addr))
	}
	do(t, first, chromedp.Reload(), chromedp.WaitReady("#messages"))
	see(t, first, "both are there once after a reload", times("Written while there was no master")+" === 1 && "+times("Hello from the first window")+" === 1")
	picture(t, first, "3-after-phone-en-light")
	picture(t, second, "3-after-desktop-zh-dark")
	do(t, first, screen(390, 780, true))
	picture(t, first, "3-after-phone-en-dark")
	do(t, second, screen(1100, 900, false))
	picture(t, second, "3-after-desktop-zh-light")
}

func TestBrowserShowsConflict(t *testing.T) {
	first := browser(t)
	g := newGuestbook(t)
	second := window(t, first)
	do(t, first, screen(390, 780, false), chromedp.Navigate(g.url), chromedp.WaitReady("#messages"))
	write(t, first, "Ada", "draft")
	see(t, first, "the message", times("draft")+" === 1")
	do(t, first, chromedp.Click(".message .edit"), chromedp.WaitReady("[name=version]"))
	edit, err := run(first, chromedp.Location())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(edit, "/edit") {
		t.Fatalf("Edit leads to %s", edit)
	}
	do(t, second, screen(1100, 900, true), chromedp.Navigate(edit), chromedp.WaitReady("[name=version]"))
	do(t, second, chromedp.SetValue("#text", "theirs"), chromedp.Click("#submit"), chromedp.WaitReady("#messages"))
	see(t, second, "their edit", times("theirs")+" === 1")
	do(t, first, chromedp.SetValue("#text", "mine"), chromedp.Click("#submit"), chromedp.WaitVisible(".conflict"))
	see(t, first, "their text", `document.querySelector(".conflict .text").textContent === "theirs"`)
	see(t, first, "my text", `document.getElementById("text").value === "mine"`)
	picture(t, first, "4-conflict-phone-en-light")
	do(t, first, chromedp.Click("#submit"), chromedp.WaitReady("#messages"))
	see(t, first, "my text in the end", times("mine")+" === 1")
	see(t, second, "my text in the other window, in place of theirs", times("mine")+" === 1 && "+times("theirs")+" === 0")
}
