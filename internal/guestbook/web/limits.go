package web

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds how many messages one address may post.
type limiter struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	since time.Time
	seen  map[string]*rate.Limiter
}

const (
	// maxAddresses bounds the memory of a limiter; when it is reached, everybody starts afresh.
	maxAddresses = 10_000
	// forgetAfter is how long a limiter remembers: longer than any bucket takes to fill.
	forgetAfter = 10 * time.Minute
)

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, seen: map[string]*rate.Limiter{}, since: time.Now()}
}

func (l *limiter) allow(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) >= maxAddresses || time.Since(l.since) > forgetAfter {
		clear(l.seen)
		l.since = time.Now()
	}
	bucket := l.seen[host]
	if bucket == nil {
		bucket = rate.NewLimiter(l.rate, l.burst)
		l.seen[host] = bucket
	}
	return bucket.Allow()
}
