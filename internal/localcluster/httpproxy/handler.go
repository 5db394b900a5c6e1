package httpproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/traffic"
)

// exchange is one request on its way.
type exchange struct {
	found   routing.Found
	backend *routing.Backend
	pool    *pool
	start   time.Time
	path    string // cleaned
	setID   bool   // the client gets the session cookie
	stream  bool   // the answer stays open, and was counted when it began

	listener *Listener
	answer   *answer
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// ServeHTTP implements http.Handler.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{start: time.Now(), path: routing.CleanPath(r.URL.Path), listener: l, answer: &answer{ResponseWriter: w}}
	defer x.finished(r)
	attributes := routing.Request{Host: r.Host, Method: r.Method, Path: x.path, Header: r.Header, RawQuery: r.URL.RawQuery}
	var ok bool
	if t := l.table.Load(); t != nil {
		x.found, ok = t.Find(&attributes)
	}
	if !ok {
		x.answer.refuse(http.StatusNotFound, "no route for this request")
		return
	}
	if d := x.found.Request; d > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		r = r.WithContext(ctx)
	}
	if to := x.found.Filters.Redirect; to != nil {
		x.found.Filters.Response.Apply(w.Header())
		w.Header().Set("Location", to.Location(r.Host, x.escapedPath(r), r.URL.RawQuery, x.escapedPrefix()))
		x.answer.WriteHeader(to.Code)
		return
	}
	if x.backend = x.choose(r); x.backend == nil || x.backend.Invalid {
		x.answer.refuse(http.StatusInternalServerError, "the route has no valid backend")
		return
	}
	if x.pool = l.proxy.pool(x.backend.Target); x.pool == nil {
		x.answer.refuse(http.StatusServiceUnavailable, errNoEndpoint.Error())
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	if err := l.proxy.mirrors.copy(x, r); err != nil {
		x.answer.refuse(http.StatusBadRequest, "the body cannot be read")
		return
	}
	l.proxy.reverse.ServeHTTP(x.answer, r)
}

// choose is the backend that the client's cookie names, or one by weight; nil if no backend has any.
func (x *exchange) choose(r *http.Request) *routing.Backend {
	rule := x.found.Rule
	if rule.Cookie != "" {
		if c, err := r.Cookie(rule.Cookie); err == nil {
			if b := rule.Sticky(c.Value); b != nil {
				return b
			}
		}
		x.setID = true
	}
	total := rule.Total()
	if total == 0 {
		return nil
	}
	return rule.Pick(spread(x.listener.turns.Add(1), total))
}

// spread is the n-th of a row of numbers from 0 to total-1 that covers them evenly wherever one begins to count, and
// also when only every second or third is looked at: n times the golden ratio, without what is before the point. So few
// requests show the shares already, where random numbers would be some points off after a thousand.
func spread(n uint64, total uint32) uint32 {
	const golden = 0x9e3779b97f4a7c15 // of 1<<64
	return uint32((n * golden >> 32) * uint64(total) >> 32)
}

// escapedPath is the path as it is in the URL, unless that had to be cleaned.
func (x *exchange) escapedPath(r *http.Request) string {
	if x.path == r.URL.Path {
		return r.URL.EscapedPath()
	}
	return (&url.URL{Path: x.path}).EscapedPath()
}

func (x *exchange) escapedPrefix() string {
	return (&url.URL{Path: x.found.Prefix}).EscapedPath()
}

// newReverse makes the part that does the proxying, which is the standard library's: hop-by-hop headers, streaming,
// trailers, upgrades.
func newReverse(log *slog.Logger, m *metrics) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: rewrite, ModifyResponse: modifyResponse, ErrorHandler: answerError,
		Transport: balancer{m}, BufferPool: &buffers{},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// rewrite makes the request that a pod gets.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "pod" // the balancer sets it
	p.Out.Host = p.In.Host
	p.SetXForwarded()
	f := &x.found.Filters
	if w := f.Rewrite; w != nil {
		path := w.Path(x.escapedPath(p.In), x.escapedPrefix())
		if plain, err := url.PathUnescape(path); err == nil {
			p.Out.URL.Path, p.Out.URL.RawPath = plain, path
		}
		if w.Host != "" {
			p.Out.Host = w.Host
		}
	}
	for _, h := range []*routing.Headers{&f.Request, &x.backend.Request} {
		h.Apply(p.Out.Header)
		if host, ok := h.Set("Host"); ok {
			p.Out.Host = host
			delete(p.Out.Header, "Host")
		}
	}
	if _, ok := p.Out.Header["User-Agent"]; !ok {
		p.Out.Header["User-Agent"] = nil // none of our own
	}
}

// modifyResponse changes what a pod answered on its way to the client.
func modifyResponse(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	x.found.Filters.Response.Apply(resp.Header)
	x.backend.Response.Apply(resp.Header)
	if x.setID {
		c := http.Cookie{Name: x.found.Cookie, Value: x.backend.ID, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
		resp.Header.Add("Set-Cookie", c.String())
	}
	if x.stream {
		x.answer.code = resp.StatusCode
		x.count(resp.StatusCode, time.Since(x.start))
	}
	return nil
}

// answerError answers in place of a pod.
func answerError(w http.ResponseWriter, r *http.Request, err error) {
	a := w.(*answer)
	var timeout net.Error
	switch {
	case errors.Is(err, errNoEndpoint):
		a.refuse(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		a.refuse(http.StatusGatewayTimeout, "the backend did not answer in time")
	case errors.Is(r.Context().Err(), context.Canceled):
		// There is nobody to answer.
	default:
		a.refuse(http.StatusBadGateway, "the backend did not answer")
	}
}

// finished counts a request. A panic of the reverse proxy, which cuts an answer that broke off, passes through.
func (x *exchange) finished(r *http.Request) {
	took := time.Since(x.start)
	if !x.stream {
		x.count(x.answer.code, took)
	}
	x.listener.accessLog.Load().write(x, r, took)
}

func (x *exchange) count(code int, took time.Duration) {
	key := traffic.Key{}
	if x.found.Rule != nil {
		key.Namespace, key.Route, key.Rule = x.found.Namespace, x.found.Route, x.found.Name
	}
	if x.backend != nil {
		key.Service = x.backend.Service
	}
	x.listener.proxy.metrics.count(key, code, took)
}

// answer is a ResponseWriter that remembers what was answered.
type answer struct {
	http.ResponseWriter
	code  int // 0 when the client had gone before there was an answer
	bytes int64
}

func (a *answer) WriteHeader(code int) {
	if code >= 200 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// refuse answers with an error of the gateway's own, in plain text.
func (a *answer) refuse(code int, why string) {
	if a.code != 0 {
		return
	}
	h := a.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	a.WriteHeader(code)
	// A client that has gone misses nothing.
	_, _ = a.Write([]byte(why + "\n"))
}

// buffers are reused to copy bodies.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
