package httpproxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
)

const (
	// mirrorBytes bounds the body of a request that is copied: it is kept in memory. Larger ones, and those that do
	// not tell their length, are not copied.
	mirrorBytes = 1 << 20
	// mirrorCopies bounds the copies that are on their way; further requests are not copied.
	mirrorCopies = 64
	// mirrorTimeout bounds one copy.
	mirrorTimeout = 15 * time.Second
)

// mirrors sends copies of requests. Their answers are read and dropped.
type mirrors struct {
	proxy *Proxy
	ctx   context.Context // ends with the proxy
	slots chan struct{}
	tasks sync.WaitGroup
}

func newMirrors(ctx context.Context, p *Proxy) *mirrors {
	return &mirrors{proxy: p, ctx: ctx, slots: make(chan struct{}, mirrorCopies)}
}

// copy sends the copies of a request that its rule asks for. It may replace the body of r by one in memory; the error
// is of reading it.
func (m *mirrors) copy(x *exchange, r *http.Request) error {
	var to []routing.Mirror
	for _, mirror := range x.found.Filters.Mirrors {
		if mirror.Of > 0 && mirror.Takes(rand.Uint32N(mirror.Of)) {
			to = append(to, mirror)
		}
	}
	if len(to) == 0 {
		return nil
	}
	var content []byte
	switch {
	case r.Header.Get("Upgrade") != "", r.ContentLength < 0, r.ContentLength > mirrorBytes:
		m.proxy.metrics.notMirrored(len(to))
		return nil
	case r.ContentLength > 0:
		var err error
		if content, err = io.ReadAll(r.Body); err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(content))
	}
	for _, mirror := range to {
		select {
		case m.slots <- struct{}{}:
		default:
			m.proxy.metrics.notMirrored(1)
			continue
		}
		out := r.Clone(m.ctx)
		out.RequestURI = ""
		out.URL.Scheme = "http"
		out.Body, out.ContentLength = http.NoBody, int64(len(content))
		if len(content) > 0 {
			out.Body = io.NopCloser(bytes.NewReader(content))
		}
		x.found.Filters.Request.Apply(out.Header)
		m.tasks.Go(func() {
			defer func() { <-m.slots }()
			m.send(mirror.Target, out)
		})
	}
	return nil
}

func (m *mirrors) send(to routing.Target, r *http.Request) {
	p := m.proxy.pool(to)
	if p == nil {
		return
	}
	e := p.take(nil, time.Now())
	if e == nil {
		return
	}
	defer p.done(e)
	ctx, cancel := context.WithTimeout(m.ctx, mirrorTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.URL.Host = e.address
	resp, err := e.transport.RoundTrip(r)
	if err != nil {
		return
	}
	// The connection is used again if the whole answer was read.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mirrorBytes))
	_ = resp.Body.Close()
}
