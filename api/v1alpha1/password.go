package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxPasswordLength is how long a password may be, in bytes. Servers read no longer argument from a client that has not said
// its password yet.
const MaxPasswordLength = 16384

// CheckPassword says what keeps a password from working everywhere: with servers and Sentinels of every supported
// version, in their files, and in the environment of clients. The error tells nothing of the password itself; it continues
// "the password".
func CheckPassword(password []byte) error {
	if len(password) == 0 {
		return errors.New("is empty; write one")
	}
	if len(password) > MaxPasswordLength {
		return fmt.Errorf("has %d bytes; use at most %d", len(password), MaxPasswordLength)
	}
	if !utf8.Valid(password) {
		return errors.New("is not UTF-8 text; use letters, digits and signs")
	}
	// Sentinels refuse them: they keep the password in a file of lines.
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	switch at := bytes.IndexFunc(password, control); {
	case at < 0:
		return nil
	case at == len(bytes.TrimRight(password, "\r\n")):
		return errors.New("ends with a line end, as a file does; leave it out (printf %s PASSWORD >FILE, or --from-literal)")
	default:
		return fmt.Errorf("has the control character %U as byte %d, which Sentinels refuse; leave it out", password[at], at+1)
	}
}
