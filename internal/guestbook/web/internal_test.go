package web

import (
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"redstart.dev/redstart/internal/guestbook"
)

// Every text that a template, the script or a refusal names exists in every language, and nothing is left over.
func TestEveryTextIsInEveryLanguage(t *testing.T) {
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	english := ls.all[0]
	for _, l := range ls.all {
		for key, text := range english.texts {
			other, ok := l.texts[key]
			if !ok || other == "" {
				t.Errorf("%s has no text %s", l.Tag, key)
			}
			if strings.Contains(text, "{n}") != strings.Contains(other, "{n}") {
				t.Errorf("%s: text %s has {n} in one language only", l.Tag, key)
			}
		}
		for key := range l.texts {
			if _, ok := english.texts[key]; !ok {
				t.Errorf("%s has text %s, which English has not", l.Tag, key)
			}
		}
	}
	used := map[string]bool{}
	for _, source := range []struct {
		files   fs.FS
		glob    string
		pattern string
	}{
		{templateFiles, "templates/*.html", `\.T "([a-z.]+)"`},
		{staticFiles, "static/*.js", `"((?:state|status|error|form)\.[a-z.]+)"`},
	} {
		names, err := fs.Glob(source.files, source.glob)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v %v", source.glob, names, err)
		}
		for _, name := range names {
			b, err := fs.ReadFile(source.files, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(source.pattern).FindAllStringSubmatch(string(b), -1) {
				used[m[1]] = true
				if _, ok := english.texts[m[1]]; !ok && m[1] != "state.value" {
					t.Errorf("%s uses text %s, which does not exist", name, m[1])
				}
			}
		}
	}
	for key := range english.texts {
		if !used[key] && !strings.HasPrefix(key, "error.") && key != "conflict.title" {
			t.Errorf("text %s is used nowhere", key)
		}
	}
}

// Whatever is posted, a form that is taken keeps the limits and can be shown.
func FuzzParseForm(f *testing.F) {
	f.Add("token=0123456789abcdef&text=hello&name=Ada&version=1")
	f.Add("token=0123456789abcdef&text=%00%1b%e2%80%ae%ff&name=a%0ab")
	f.Add("text=" + strings.Repeat("%E5%AD%97", guestbook.MaxText+1))
	f.Fuzz(func(t *testing.T, body string) {
		values, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		form, err := parseForm(values)
		if err != nil {
			return
		}
		if !guestbook.ValidToken(form.Token) || form.Version < 0 {
			t.Errorf("taken with token %q, version %d", form.Token, form.Version)
		}
		if form.Text == "" || utf8.RuneCountInString(form.Text) > guestbook.MaxText || utf8.RuneCountInString(form.Name) > guestbook.MaxName {
			t.Errorf("taken with %d characters by a name of %d", utf8.RuneCountInString(form.Text), utf8.RuneCountInString(form.Name))
		}
		if !utf8.ValidString(form.Text) || strings.ContainsAny(form.Text+form.Name, "\x00\x1b\r\u202e") || strings.Contains(form.Name, "\n") {
			t.Errorf("taken with characters that should be gone: %q %q", form.Name, form.Text)
		}
		name, text, err := guestbook.Clean(form.Name, form.Text)
		if err != nil || name != form.Name || text != form.Text {
			t.Errorf("cleaning twice changes %q to %q (%v)", form.Text, text, err)
		}
	})
}
