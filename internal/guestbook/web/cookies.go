package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"redstart.dev/redstart/internal/guestbook"
)

const (
	ownerCookie    = "guestbook_owner"
	positionCookie = "guestbook_position"
	year           = 365 * 24 * time.Hour
	// positionAge is longer than any replica that is still in use can be behind.
	positionAge = 5 * time.Minute
)

// owner is the visitor's secret, which proves that a message is theirs. A new visitor gets one.
func owner(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(ownerCookie); err == nil && guestbook.ValidToken(c.Value) {
		return c.Value
	}
	secret := guestbook.NewSecret()
	setCookie(w, r, ownerCookie, secret, year)
	return secret
}

// csrfToken is derived from the visitor's secret, which no other site can read: every front end can check it without
// a secret of its own.
func csrfToken(owner string) string {
	mac := hmac.New(sha256.New, []byte(owner))
	mac.Write([]byte("csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func validCSRF(owner, token string) bool {
	return hmac.Equal([]byte(csrfToken(owner)), []byte(token))
}

// position is the last write that this visitor made: what they read has to include it.
func position(r *http.Request) guestbook.Position {
	if c, err := r.Cookie(positionCookie); err == nil {
		return guestbook.ParsePosition(c.Value)
	}
	return ""
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
}
