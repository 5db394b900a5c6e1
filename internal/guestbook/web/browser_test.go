package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"redstart.dev/redstart/internal/guestbook/browsertest"
)

func TestBrowser(t *testing.T) {
	first := browsertest.Start(t)
	g := newGuestbook(t)
	second := first.Another()
	first.Screen(390, 780, false)
	first.Open(g.url)
	second.Screen(1100, 900, true)
	second.Open(g.url + "/?lang=zh")
	first.Picture("1-empty-phone-en-light")

	first.Write("Ada", "Hello from the first window")
	first.See("the writer sees the message", browsertest.Times("Hello from the first window")+" === 1")
	first.See("the form is empty again", `document.getElementById("text").value === ""`)
	second.See("the other window sees it without reloading", browsertest.Times("Hello from the first window")+" === 1")

	nasty := `<script>document.title = "broken"</script> & <b>bold</b>`
	second.Write("王小明", nasty)
	first.See("markup is shown as it was typed", browsertest.Times(nasty)+" === 1")
	first.See("no script of a visitor ran", `document.title !== "broken"`)
	second.Write("", "今天天气很好，路过留个名。\n希望大家都好！")
	first.See("the third message", browsertest.Times("今天天气很好，路过留个名。\n希望大家都好！")+" === 1")

	// The master dies while a message is on its way.
	g.master.Kill()
	second.See("the page says that the database is changing its master", `document.getElementById("status").dataset.state === "changing"`)
	first.Write("Ada", "Written while there was no master")
	first.See("the page says that it retries", `document.getElementById("state-box").dataset.state === "retry"`)
	first.See("the message is still in the form", `document.getElementById("text").value.startsWith("Written while")`)
	first.See("it was not said to be kept", browsertest.Times("Written while there was no master")+" === 0")
	first.Picture("2-failover-phone-en-light")
	second.Picture("2-failover-desktop-zh-dark")
	g.failover()
	for name, w := range map[string]*browsertest.Window{"first": first, "second": second} {
		w.See(name+" window sees the new message once", browsertest.Times("Written while there was no master")+" === 1")
		w.See(name+" window sees the old message once", browsertest.Times("Hello from the first window")+" === 1")
		w.See(name+" window shows the new master", fmt.Sprintf(`document.getElementById("status-text").textContent.includes(%q)`, g.master.Addr))
	}
	first.Do(chromedp.Reload(), chromedp.WaitReady("#messages"))
	first.See("both are there once after a reload", browsertest.Times("Written while there was no master")+" === 1 && "+browsertest.Times("Hello from the first window")+" === 1")
	first.Picture("3-after-phone-en-light")
	second.Picture("3-after-desktop-zh-dark")
	first.Screen(390, 780, true)
	first.Picture("3-after-phone-en-dark")
	second.Screen(1100, 900, false)
	second.Picture("3-after-desktop-zh-light")
}

func TestBrowserShowsConflict(t *testing.T) {
	first := browsertest.Start(t)
	g := newGuestbook(t)
	second := first.Another()
	first.Screen(390, 780, false)
	first.Open(g.url)
	first.Write("Ada", "draft")
	first.See("the message", browsertest.Times("draft")+" === 1")
	first.Do(chromedp.Click(".message .edit"), chromedp.WaitReady("[name=version]"))
	edit := first.Location()
	if !strings.HasSuffix(edit, "/edit") {
		t.Fatalf("Edit leads to %s", edit)
	}
	second.Screen(1100, 900, true)
	second.Do(chromedp.Navigate(edit), chromedp.WaitReady("[name=version]"))
	second.Do(chromedp.SetValue("#text", "theirs"), chromedp.Click("#submit"), chromedp.WaitReady("#messages"))
	second.See("their edit", browsertest.Times("theirs")+" === 1")
	first.Do(chromedp.SetValue("#text", "mine"), chromedp.Click("#submit"), chromedp.WaitVisible(".conflict"))
	first.See("their text", `document.querySelector(".conflict .text").textContent === "theirs"`)
	first.See("my text", `document.getElementById("text").value === "mine"`)
	first.Picture("4-conflict-phone-en-light")
	first.Do(chromedp.Click("#submit"), chromedp.WaitReady("#messages"))
	first.See("my text in the end", browsertest.Times("mine")+" === 1")
	second.See("my text in the other window, in place of theirs", browsertest.Times("mine")+" === 1 && "+browsertest.Times("theirs")+" === 0")
}
