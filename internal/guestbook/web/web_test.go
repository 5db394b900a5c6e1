package web_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/redistest"
	"redstart.dev/redstart/internal/guestbook/web"
)

var hidden = regexp.MustCompile(`name="(csrf|token|version)" value="([^"]*)"`)

// page reads a page and the hidden fields of its form.
func page(t *testing.T, c *http.Client, address string, header ...string) (status int, body string, fields url.Values) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, c, r, header...)
}

func submit(t *testing.T, c *http.Client, address string, fields url.Values, header ...string) (status int, body string, _ url.Values) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(fields.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	return send(t, c, r, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

func send(t *testing.T, c *http.Client, r *http.Request, header ...string) (int, string, url.Values) {
	t.Helper()
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	fields := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(string(b), -1) {
		fields.Set(m[1], m[2])
	}
	if location := response.Header.Get("Location"); location != "" {
		fields.Set("location", location)
	}
	return response.StatusCode, string(b), fields
}

func TestFormsWorkWithoutScript(t *testing.T) {
	g := newGuestbook(t)
	ada, eve := visitor(t), visitor(t)
	_, _, form := page(t, ada, g.url)
	form.Set("name", "Ada")
	form.Set("text", "<i>hello</i>")
	for range 2 { // the second is the same form again
		status, _, answer := submit(t, ada, g.url+"/messages", form)
		if status != http.StatusSeeOther || !strings.HasPrefix(answer.Get("location"), "/#m-") {
			t.Fatalf("post: %d, location %s", status, answer.Get("location"))
		}
		form.Set("location", answer.Get("location"))
	}
	id := strings.TrimPrefix(form.Get("location"), "/#m-")
	_, body, _ := page(t, ada, g.url)
	if n := strings.Count(body, "&lt;i&gt;hello&lt;/i&gt;"); n != 1 || strings.Contains(body, "<i>hello") {
		t.Fatalf("the message stands %d times in the page, want once and escaped", n)
	}

	edit := g.url + "/messages/" + id + "/edit"
	status, _, first := page(t, ada, edit)
	if status != http.StatusOK || first.Get("version") != "1" {
		t.Fatalf("edit page: %d, version %q", status, first.Get("version"))
	}
	_, _, second := page(t, ada, edit)
	first.Set("text", "theirs")
	second.Set("text", "mine")
	if status, _, _ := submit(t, ada, g.url+"/messages/"+id, first); status != http.StatusSeeOther {
		t.Fatalf("edit: %d", status)
	}
	status, body, again := submit(t, ada, g.url+"/messages/"+id, second)
	if status != http.StatusConflict || !strings.Contains(body, "theirs") || !strings.Contains(body, ">mine</textarea>") {
		t.Fatalf("edit of an old version: %d, want a conflict with both texts:\n%s", status, body)
	}
	again.Set("text", "mine")
	if status, _, _ := submit(t, ada, g.url+"/messages/"+id, again); status != http.StatusSeeOther {
		t.Fatalf("saving mine after the conflict: %d", status)
	}

	if status, _, _ := page(t, eve, edit); status != http.StatusForbidden {
		t.Errorf("edit page of another visitor's message: %d", status)
	}
	_, _, forged := page(t, eve, g.url)
	forged.Set("version", "3")
	forged.Set("text", "defaced")
	if status, _, _ := submit(t, eve, g.url+"/messages/"+id, forged); status != http.StatusForbidden {
		t.Errorf("edit of another visitor's message: %d", status)
	}
}

func TestRefusals(t *testing.T) {
	g := newGuestbook(t)
	for _, test := range []struct {
		name   string
		change func(url.Values)
		header []string
		status int
	}{
		{"nothing written", func(v url.Values) { v.Set("text", " \r\n ") }, nil, 422},
		{"too long", func(v url.Values) { v.Set("text", strings.Repeat("é", guestbook.MaxText+1)) }, nil, 422},
		{"as long as can be", func(v url.Values) { v.Set("text", strings.Repeat("字", guestbook.MaxText)) }, nil, 303},
		{"name too long", func(v url.Values) { v.Set("name", strings.Repeat("n", guestbook.MaxName+1)) }, nil, 422},
		{"body too large", func(v url.Values) { v.Set("more", strings.Repeat("x", 40<<10)) }, nil, 413},
		{"no token", func(v url.Values) { v.Del("token") }, nil, 403},
		{"forged csrf", func(v url.Values) { v.Set("csrf", "AAAA") }, nil, 403},
		{"from another site", func(url.Values) {}, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"from another origin", func(url.Values) {}, []string{"Origin", "https://evil.example"}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := visitor(t)
			_, _, form := page(t, c, g.url)
			form.Set("text", "hello")
			test.change(form)
			if status, body, _ := submit(t, c, g.url+"/messages", form, test.header...); status != test.status {
				t.Errorf("status %d, want %d:\n%s", status, test.status, body)
			}
		})
	}
}

func TestRateIsLimited(t *testing.T) {
	g := newGuestbook(t, func(o *web.Options) { o.PostsPerSecond, o.PostBurst = 0.001, 2 })
	for i, want := range []int{201, 201, 429} {
		status, _, _ := apiPost(t, visitor(t), g.url, fmt.Sprintf(`{"text":"%d"}`, i))
		if status != want {
			t.Errorf("post %d: %d, want %d", i, status, want)
		}
	}
}

func apiPost(t *testing.T, c *http.Client, url, body string) (int, string, http.Header) {
	t.Helper()
	response, err := c.Post(url+"/api/v1/messages", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(b), response.Header
}

func TestAPI(t *testing.T) {
	g := newGuestbook(t)
	c := visitor(t)
	const token = `"token":"0123456789abcdef"`
	status, body, header := apiPost(t, c, g.url, `{`+token+`,"name":"Ada","text":"hello"}`)
	if status != http.StatusCreated || !strings.Contains(body, `"repeated":false`) {
		t.Fatalf("post: %d %s", status, body)
	}
	if status, body, _ = apiPost(t, c, g.url, `{`+token+`,"name":"Ada","text":"hello"}`); status != http.StatusOK || !strings.Contains(body, `"repeated":true`) {
		t.Errorf("the same post again: %d %s", status, body)
	}
	// The first answer was lost, and the author changed their mind before sending again.
	if status, body, _ = apiPost(t, c, g.url, `{`+token+`,"name":"Ada","text":"goodbye"}`); status != http.StatusOK || !strings.Contains(body, "goodbye") {
		t.Errorf("the same token with other words: %d %s", status, body)
	}
	if status, body, _ = page(t, c, g.url+"/api/v1/messages"); status != http.StatusOK || strings.Count(body, `"id"`) != 1 || !strings.Contains(body, "goodbye") {
		t.Errorf("list: %d %s", status, body)
	}
	if status, body, _ = page(t, c, g.url+header.Get("Location")); status != http.StatusOK || !strings.Contains(body, `"version":2`) {
		t.Errorf("get %s: %d %s", header.Get("Location"), status, body)
	}
	for _, bad := range []string{``, `[]`, `{"text":1}`, `{"text":"x","unknown":1}`, `{"text":"x","token":"short"}`, `{"text":""}`} {
		if status, body, _ := apiPost(t, c, g.url, bad); status != http.StatusUnprocessableEntity {
			t.Errorf("post %s: %d %s, want 422", bad, status, body)
		}
	}
	if status, _, _ := page(t, c, g.url+"/api/v1/messages?before=x"); status != http.StatusUnprocessableEntity {
		t.Errorf("list before x: %d", status)
	}
}

func TestNothingIsSaidToBeKeptWithoutMaster(t *testing.T) {
	g := newGuestbook(t)
	c := visitor(t)
	_, _, form := page(t, c, g.url)
	form.Set("text", "kept in the form")
	g.master.Kill()
	status, body, again := submit(t, c, g.url+"/messages", form)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, ">kept in the form</textarea>") || again.Get("token") != form.Get("token") {
		t.Fatalf("post without a master: %d, token %s after %s:\n%s", status, again.Get("token"), form.Get("token"), body)
	}
	if status, _, _ := page(t, c, g.url+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz during a failover: %d, want 200", status)
	}
	g.failover()
	redistest.Wait(t, "the same form is taken", func() bool {
		status, _, _ := submit(t, c, g.url+"/messages", form)
		return status == http.StatusSeeOther
	})
	if _, body, _ := page(t, c, g.url); strings.Count(body, "kept in the form") != 1 {
		t.Errorf("the message is not there once:\n%s", body)
	}
	if _, body, _ := page(t, c, g.url+"/metrics"); !strings.Contains(body, "guestbook_store_failover_seconds_count 1") {
		t.Error("metrics do not count the failover")
	}
}

func TestEventsResume(t *testing.T) {
	g := newGuestbook(t)
	c := visitor(t)
	apiPost(t, c, g.url, `{"text":"one"}`)
	first := read(t, g, "")
	id, _ := first("message")
	apiPost(t, c, g.url, `{"text":"two"}`)
	apiPost(t, c, g.url, `{"text":"three"}`)
	second := read(t, g, id)
	if _, data := second("message"); !strings.Contains(data, "two") {
		t.Errorf("after %s came %s, want message two", id, data)
	}
	if _, data := second("message"); !strings.Contains(data, "three") {
		t.Errorf("then came %s, want message three", data)
	}
	var wg sync.WaitGroup
	wg.Go(g.stop) // closes streams; the test would hang here if it did not
	wg.Wait()
}

// read opens a stream of events after the position; the returned function waits for an event.
func read(t *testing.T, g *book, after string) func(event string) (id, data string) {
	t.Helper()
	r, _ := http.NewRequest(http.MethodGet, g.url+"/events", nil)
	r.Header.Set("Last-Event-ID", after)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	return func(event string) (string, string) {
		t.Helper()
		name, id, data := "", "", ""
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				name, id = value, ""
			case "id":
				id = value
			case "data":
				data = value
			case "":
				if name == event {
					return id, data
				}
			}
		}
		t.Fatalf("stream ended before %s", event)
		return "", ""
	}
}

func TestLanguage(t *testing.T) {
	g := newGuestbook(t)
	for _, test := range []struct{ query, accept, want string }{
		{"", "", "en"},
		{"", "zh-CN,zh;q=0.9,en;q=0.8", "zh"},
		{"", "zh-Hant-TW", "zh"},
		{"", "fr;q=0.9, zh;q=0.1", "zh"},
		{"", "fr", "en"},
		{"?lang=zh", "en", "zh"},
		{"?lang=xx", "zh", "zh"},
		{"", "\xff;;;", "en"},
	} {
		if _, body, _ := page(t, visitor(t), g.url+"/"+test.query, "Accept-Language", test.accept); !strings.Contains(body, `<html lang="`+test.want+`"`) {
			t.Errorf("%s with Accept-Language %q is not in %s", test.query, test.accept, test.want)
		}
	}
	c := visitor(t)
	page(t, c, g.url+"/?lang=zh")
	if _, body, _ := page(t, c, g.url); !strings.Contains(body, `<html lang="zh"`) {
		t.Error("the language that was chosen is not remembered")
	}
}

func TestRelease(t *testing.T) {
	c := visitor(t)
	for release, want := range map[string]string{"": "", "v2 <b>": `id="release">v2 &lt;b&gt;<`} {
		g := newGuestbook(t, func(o *web.Options) { o.Release = release })
		_, body, _ := page(t, c, g.url)
		if shown := strings.Contains(body, `id="release"`); shown != (release != "") || !strings.Contains(body, want) {
			t.Errorf("release %q: the page lacks %q", release, want)
		}
		var who struct{ Release, Host string }
		if _, body, _ := page(t, c, g.url+"/api/v1/release"); json.Unmarshal([]byte(body), &who) != nil || who.Release != release || who.Host != "frontend-0" {
			t.Errorf("release %q: the API tells %s", release, body)
		}
	}
}

func TestHeaders(t *testing.T) {
	g := newGuestbook(t)
	response, err := http.Get(g.url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	csp := response.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, c := range response.Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("cookie %s is not HttpOnly and SameSite=Lax", c.Name)
		}
	}
}
