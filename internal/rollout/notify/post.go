package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// giveUpAfter is how long a message is tried to be told, from when it happened.
	giveUpAfter = 15 * time.Minute
	// The pause before another try is as long as was tried already, within these bounds.
	shortestPause = time.Second
	longestPause  = time.Minute
	// longestWait bounds the wait that a webhook may ask for.
	longestWait = 5 * time.Minute
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 4 << 10
)

// NewClient makes the client that posts. It follows no redirect, which would make a POST a GET.
func NewClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // messages are rare
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusal is an answer other than yes.
type refusal struct {
	code int
	text string
	wait time.Duration // that the webhook asks for; 0 for none
}

func (r *refusal) Error() string {
	s := fmt.Sprintf("it answers %d %s", r.code, http.StatusText(r.code))
	if r.text != "" {
		s += ": " + r.text
	}
	return s
}

// final tells whether another try would get the same answer.
func (r *refusal) final() bool {
	switch r.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return r.code < 500
}

// Post posts a message. Its errors do not show the address, which may be a secret.
func Post(ctx context.Context, client *http.Client, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("its address cannot be understood; expected one such as https://hooks.example.com/deployments")
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" {
		return errors.New("its address does not begin with http:// or https://, and a host")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "redstart")
	resp, err := client.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("it cannot be reached: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	r := &refusal{code: resp.StatusCode}
	if err == nil {
		r.text = firstLine(string(text))
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		r.wait = min(time.Duration(n)*time.Second, longestWait)
	}
	return r
}

func firstLine(s string) string {
	const longest = 200 // characters of somebody else's message
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > longest {
		s = s[:longest]
	}
	return strings.ToValidUTF8(s, "?")
}

// Verdict is what follows from a try.
type Verdict string

// The verdicts, which are also the label result of the metric.
const (
	Delivered Verdict = "delivered"
	Failed    Verdict = "failed"
	Dropped   Verdict = "dropped"
	TryAgain  Verdict = "" // after the wait
)

// Judge says what follows from a try that gave err, tried being how long the message has been tried to be told.
func Judge(err error, tried time.Duration) (Verdict, time.Duration) {
	var r *refusal
	switch {
	case err == nil:
		return Delivered, 0
	case errors.As(err, &r) && r.final(), tried >= giveUpAfter:
		return Failed, 0
	case r != nil && r.wait > 0:
		return TryAgain, r.wait
	}
	return TryAgain, min(max(tried, shortestPause), longestPause)
}
