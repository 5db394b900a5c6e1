package v1alpha1

import (
	"strings"
	"testing"
)

func TestCheckPassword(t *testing.T) {
	for _, tt := range []struct{ name, password, want string }{
		{"letters", "s3cret", ""},
		{"quotes, spaces, backslashes, signs", ` a"b'c\d$e{f}#g=h%i;j `, ""},
		{"other scripts", "пароль 密码 🔑", ""},
		{"as long as may be", strings.Repeat("x", MaxPasswordLength), ""},
		{"none", "", "is empty; write one"},
		{"too long", strings.Repeat("x", MaxPasswordLength+1), "has 16385 bytes; use at most 16384"},
		{"bytes", "a\xff\xfeb", "is not UTF-8 text; use letters, digits and signs"},
		{"from a file", "s3cret\n", "ends with a line end, as a file does; leave it out (printf %s PASSWORD >FILE, or --from-literal)"},
		{"from a file of Windows", "s3cret\r\n", "ends with a line end, as a file does; leave it out (printf %s PASSWORD >FILE, or --from-literal)"},
		{"two lines", "a\nb\n", "has the control character U+000A as byte 2, which Sentinels refuse; leave it out"},
		{"a tab", "é\tb", "has the control character U+0009 as byte 3, which Sentinels refuse; leave it out"},
		{"a nul", "\x00", "has the control character U+0000 as byte 1, which Sentinels refuse; leave it out"},
		{"delete", "a\x7f", "has the control character U+007F as byte 2, which Sentinels refuse; leave it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := CheckPassword([]byte(tt.password)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("the password %s, want %s", got, tt.want)
			}
		})
	}
}
