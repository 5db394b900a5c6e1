package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

//go:embed locales/*.json
var localeFiles embed.FS

// languages that the page speaks; the first is used when nothing matches.
var languages = []language.Tag{language.English, language.Chinese}

// locale is one language's texts.
type locale struct {
	Tag   string
	texts map[string]string
}

// T gives the text of key; a key that does not exist is a mistake of ours and shows itself.
func (l *locale) T(key string) string {
	if s, ok := l.texts[key]; ok {
		return s
	}
	return "!" + key
}

// N is T with {n} filled in.
func (l *locale) N(key string, n any) string {
	return strings.ReplaceAll(l.T(key), "{n}", fmt.Sprint(n))
}

// Script gives the texts that the page's script needs, as JSON.
func (l *locale) Script() (string, error) {
	texts := map[string]string{}
	for key, text := range l.texts {
		switch strings.SplitN(key, ".", 2)[0] {
		case "state", "status", "error", "form":
			texts[key] = text
		}
	}
	b, err := json.Marshal(texts)
	return string(b), err
}

// locales holds all languages.
type locales struct {
	all     []*locale
	matcher language.Matcher
}

func loadLocales() (*locales, error) {
	ls := &locales{matcher: language.NewMatcher(languages)}
	for _, tag := range languages {
		name := "locales/" + tag.String() + ".json"
		b, err := localeFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read texts: %w", err)
		}
		l := &locale{Tag: tag.String()}
		if err := json.Unmarshal(b, &l.texts); err != nil {
			return nil, fmt.Errorf("read texts of %s: %w", name, err)
		}
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

const languageCookie = "guestbook_lang"

// choose takes the language of ?lang=, else of the cookie, else what the browser accepts.
func (ls *locales) choose(r *http.Request) *locale {
	wanted := []string{r.URL.Query().Get("lang")}
	if c, err := r.Cookie(languageCookie); err == nil {
		wanted = append(wanted, c.Value)
	}
	wanted = append(wanted, r.Header.Get("Accept-Language"))
	for _, w := range wanted {
		if len(w) > 200 {
			continue
		}
		tags, _, err := language.ParseAcceptLanguage(w)
		if err != nil || len(tags) == 0 {
			continue
		}
		if _, i, confidence := ls.matcher.Match(tags...); confidence > language.No {
			return ls.all[i]
		}
	}
	return ls.all[0]
}
