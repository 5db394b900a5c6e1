package guestbook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// NewSecret makes 128 random bits that nobody can guess: a token, or what proves an author.
func NewSecret() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// OwnerHash is what is stored of an author's secret, so that whoever reads the database cannot edit in their name.
func OwnerHash(secret string) string {
	sum := sha256.Sum256([]byte("owner:" + secret))
	return hex.EncodeToString(sum[:16])
}

const idLength = 22

// NewID makes the ID of a message posted at now: its milliseconds and 40 random bits, so that IDs made by several
// front ends never collide and order by time.
func NewID(now time.Time) string {
	var b [5]byte
	rand.Read(b[:])
	return fmt.Sprintf("%012x%x", now.UnixMilli(), b)
}
