package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"redstart.dev/redstart/internal/guestbook"
)

// maxBody bounds what is read of a request: a message of the longest kind, percent-encoded, fits.
const maxBody = 32 << 10

// form is a message as it was typed, before and after it is checked.
type form struct {
	ID, Token, CSRF, Name, Text string
	Version                     int
}

// errBadForm: the hidden fields are missing or not ours.
var errBadForm = errors.New("form: expected the fields token and csrf of the page")

// parseForm reads and checks a form. The form is returned in any case, to be shown again.
func parseForm(values url.Values) (form, error) {
	f := form{
		Token: values.Get("token"), CSRF: values.Get("csrf"),
		Name: values.Get("name"), Text: values.Get("text"),
	}
	if v := values.Get("version"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return f, errBadForm
		}
		f.Version = n
	}
	if !guestbook.ValidToken(f.Token) {
		return f, errBadForm
	}
	var err error
	f.Name, f.Text, err = guestbook.Clean(f.Name, f.Text)
	return f, err
}

// readForm reads the form of a request and checks that it comes from a page of this visitor's.
func readForm(w http.ResponseWriter, r *http.Request, owner string) (form, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return form{}, err
	}
	f, err := parseForm(r.PostForm)
	if !validCSRF(owner, f.CSRF) {
		return f, errBadForm
	}
	return f, err
}
