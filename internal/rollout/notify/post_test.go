package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestBody(t *testing.T) {
	m := &v1alpha1.NotificationStatus{
		ID: "abc", Event: v1alpha1.NotifyRollingBack, Message: "going back: <!here> & more", Warning: true, Revision: "r2", Image: "web:2", Step: 2,
		Time: metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
	for _, c := range []struct {
		format v1alpha1.NotificationFormat
		want   string
	}{
		{v1alpha1.NotificationJSON, `{"id": "abc", "namespace": "shop", "rollout": "web", "event": "RollingBack", "message": "going back: <!here> & more", "warning": true,
			"step": 2, "steps": 3, "revision": "r2", "image": "web:2", "time": "2030-01-02T03:04:05Z"}`},
		{v1alpha1.NotificationSlack, `{"text": "*shop/web*: going back: &lt;!here&gt; &amp; more", "attachments": [{
			"fallback": "shop/web: going back: &lt;!here&gt; &amp; more", "color": "#e01e5a", "ts": 1893553445, "fields": [
				{"title": "Rollout", "value": "shop/web", "short": true}, {"title": "Event", "value": "RollingBack", "short": true},
				{"title": "Image", "value": "web:2", "short": true}, {"title": "Revision", "value": "r2", "short": true}, {"title": "Step", "value": "2 of 3", "short": true}]}]}`},
	} {
		body, err := Body(c.format, Subject{"shop", "web", 3}, m)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := errors.Join(json.Unmarshal(body, &got), json.Unmarshal([]byte(c.want), &want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.format, diff)
		}
	}
}

// TestPost posts to a real server, and judges what comes of it.
func TestPost(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"a":1}` || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %q of type %s, %v; want the message as JSON", r.Method, body, r.Header.Get("Content-Type"), err)
		}
		switch r.URL.Path {
		case "/secret/slow":
			<-hang
		case "/secret/busy":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/secret/down":
			w.WriteHeader(http.StatusBadGateway)
		case "/secret/moved":
			http.Redirect(w, r, "/secret/ok", http.StatusFound)
		case "/secret/gone":
			http.Error(w, "channel_is_archived\nmore", http.StatusGone)
		}
	}))
	defer server.Close()
	defer close(hang)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	client := NewClient()
	for _, c := range []struct {
		address string
		tried   time.Duration
		verdict Verdict
		wait    time.Duration
		message string // a part of it
	}{
		{address: server.URL + "/secret/ok", verdict: Delivered},
		{address: server.URL + "/secret/ok", tried: time.Hour, verdict: Delivered},
		{address: server.URL + "/secret/down", verdict: TryAgain, wait: time.Second, message: "it answers 502 Bad Gateway"},
		{address: server.URL + "/secret/down", tried: 20 * time.Second, verdict: TryAgain, wait: 20 * time.Second, message: "502"},
		{address: server.URL + "/secret/down", tried: 14 * time.Minute, verdict: TryAgain, wait: time.Minute, message: "502"},
		{address: server.URL + "/secret/down", tried: 15 * time.Minute, verdict: Failed, message: "502"},
		{address: server.URL + "/secret/busy", verdict: TryAgain, wait: 7 * time.Second, message: "429"},
		{address: server.URL + "/secret/moved", verdict: Failed, message: "302"},
		{address: server.URL + "/secret/gone", verdict: Failed, message: "it answers 410 Gone: channel_is_archived"},
		{address: server.URL + "/secret/slow", verdict: TryAgain, wait: time.Second, message: "deadline"},
		{address: "http://" + dead.Addr().String() + "/secret", verdict: TryAgain, wait: time.Second, message: "refused"},
		{address: "http://[secret", verdict: TryAgain, wait: time.Second, message: "cannot be understood"},
		{address: "secret", verdict: TryAgain, wait: time.Second, message: "http://"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if c.verdict == Delivered || !strings.HasSuffix(c.address, "slow") {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		}
		err := Post(ctx, client, c.address, []byte(`{"a":1}`))
		cancel()
		verdict, wait := Judge(err, c.tried)
		if verdict != c.verdict || wait != c.wait {
			t.Errorf("%s after %s: %q, wait %s; want %q, %s", c.address, c.tried, verdict, wait, c.verdict, c.wait)
		}
		switch {
		case (err == nil) != (c.message == ""):
			t.Errorf("%s: %v, want %q", c.address, err, c.message)
		case err != nil && (!strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "more")):
			t.Errorf("%s: %v, want %q, and nothing of the address", c.address, err, c.message)
		}
	}
}
