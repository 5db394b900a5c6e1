package httpproxy

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"time"
)

// maxAttempts bounds how many pods are tried for one request.
const maxAttempts = 4

// errNoEndpoint says that no pod takes requests.
var errNoEndpoint = errors.New("no pod is ready")

// balancer gives every request to a pod of its backend's pool, and to another one if the first could not be reached.
// It is the transport of the reverse proxy.
type balancer struct{ metrics *metrics }

// RoundTrip implements http.RoundTripper. The exchange is in the request's context.
func (b balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	var tried []*endpoint
	failed := errNoEndpoint
	for len(tried) < maxAttempts {
		e := x.pool.take(tried, time.Now())
		if e == nil {
			break
		}
		if len(tried) > 0 {
			b.metrics.retried(x.backend)
		}
		tried = append(tried, e)
		attempt := req.Clone(req.Context())
		attempt.URL.Host = e.address
		if hasBody(req) {
			attempt.Body = open{req.Body}
		}
		resp, err := x.try(e, attempt)
		if err == nil {
			return resp, nil
		}
		failed = err
		if req.Context().Err() != nil || !retryable(req, err) {
			break
		}
	}
	if hasBody(req) {
		_ = req.Body.Close() // as a RoundTripper has to
	}
	return nil, failed
}

// try lets one pod answer.
func (x *exchange) try(e *endpoint, req *http.Request) (*http.Response, error) {
	start := time.Now()
	cancel := func() {}
	if d := x.found.BackendRequest; d > 0 {
		var ctx context.Context
		ctx, cancel = context.WithTimeout(req.Context(), d)
		req = req.WithContext(ctx)
	}
	resp, err := e.transport.RoundTrip(req)
	now := time.Now()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			x.pool.answered(e, now.Sub(start), false, now)
		}
		cancel()
		x.pool.done(e)
		return nil, err
	}
	failing := resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout
	x.pool.answered(e, now.Sub(start), !failing, now)
	answer := &ended{ReadCloser: resp.Body, end: cancel}
	if x.stream = streams(resp); x.stream {
		x.pool.done(e) // it may go on for hours, and a pod that is to stop does not wait for it
	} else {
		answer.end = func() {
			cancel()
			x.pool.done(e)
		}
	}
	resp.Body = answer
	if w, ok := answer.ReadCloser.(io.Writer); ok {
		resp.Body = duplex{answer, w}
	}
	return resp, nil
}

// streams tells whether an answer stays open until somebody ends it.
func streams(resp *http.Response) bool {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

// retryable tells whether a request may be sent again after err: when no byte of it can have reached a server, or when
// to do it twice is the same as to do it once and there is no body that may be half read.
func retryable(req *http.Request, err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	if hasBody(req) {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// open is a body that an attempt cannot close, for there may be another one.
type open struct{ io.Reader }

func (open) Close() error { return nil }

// ended is the body of an answer; end is called once, when it is closed.
type ended struct {
	io.ReadCloser
	end func()
}

func (e *ended) Close() error {
	err := e.ReadCloser.Close()
	if e.end != nil {
		e.end()
		e.end = nil
	}
	return err
}

// duplex is the body of an answer that switches protocols: both directions.
type duplex struct {
	*ended
	io.Writer
}
