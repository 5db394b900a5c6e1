// Package web shows a guestbook to browsers and to programs.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"redstart.dev/redstart/internal/guestbook"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// Options of a Server.
type Options struct {
	// PostsPerSecond that one address may make in the long run, and PostBurst at once. Default: 20 and 40.
	PostsPerSecond float64
	PostBurst      int
	// MaxStreams is how many pages may wait for news at the same time. Default: 1024.
	MaxStreams int
	// Host is shown at the foot of the page: which front end served it. Default: the host name.
	Host string
	// Release of the guestbook, shown beside its title and at /api/v1/release, so that visitors can tell two apart that
	// serve at the same time. Default: none.
	Release string
}

// unreadyAfter is how long the database may take no writes before this front end stops being ready: a failover is
// shown to visitors, who would otherwise see a broken page.
const unreadyAfter = time.Minute

// Server is the guestbook's HTTP handler.
type Server struct {
	store    guestbook.Store
	feed     *guestbook.Feed
	opts     Options
	locales  *locales
	pages    *template.Template
	assets   map[string]asset
	posts    *limiter
	streams  chan struct{}
	registry *prometheus.Registry
	metrics  *metrics
	handler  http.Handler
	stopping chan struct{}
}

type asset struct {
	content []byte
	hash    string
}

// New makes a Server. Its metrics are added to registry, which /metrics shows.
func New(store guestbook.Store, feed *guestbook.Feed, registry *prometheus.Registry, opts Options) (*Server, error) {
	if opts.PostsPerSecond <= 0 {
		opts.PostsPerSecond = 20
	}
	if opts.PostBurst <= 0 {
		opts.PostBurst = 40
	}
	if opts.MaxStreams <= 0 {
		opts.MaxStreams = 1024
	}
	if opts.Host == "" {
		opts.Host, _ = os.Hostname()
	}
	s := &Server{
		store: store, feed: feed, opts: opts, registry: registry, metrics: newMetrics(registry),
		posts:   newLimiter(opts.PostsPerSecond, opts.PostBurst),
		streams: make(chan struct{}, opts.MaxStreams), stopping: make(chan struct{}),
	}
	var err error
	if s.locales, err = loadLocales(); err != nil {
		return nil, err
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	s.pages, err = template.New("").Funcs(template.FuncMap{"asset": s.assetURL}).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, s.metrics.measure(pattern, h)) }
	handle("GET /{$}", s.showPage)
	handle("POST /messages", s.postForm)
	handle("GET /messages/{id}/edit", s.showEdit)
	handle("POST /messages/{id}", s.editForm)
	handle("GET /events", s.events)
	handle("GET /static/{name}", s.static)
	handle("GET /api/v1/messages", s.apiList)
	handle("POST /api/v1/messages", s.apiPost)
	handle("GET /api/v1/messages/{id}", s.apiGet)
	handle("PUT /api/v1/messages/{id}", s.apiEdit)
	handle("GET /api/v1/status", s.apiStatus)
	handle("GET /api/v1/release", s.apiRelease)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))

	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, s.locales.choose(r).T("error.origin"), http.StatusForbidden)
	}))
	return accessLog(secure(origin.Handler(mux)))
}

// Stop makes /readyz fail, so that no new visitors are sent here. Call it once, before the feed is closed and the
// http.Server shut down.
func (s *Server) Stop() { close(s.stopping) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	st := s.store.Status()
	select {
	case <-s.stopping:
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	default:
	}
	switch {
	case !st.Known:
		http.Error(w, "no master has answered yet", http.StatusServiceUnavailable)
	case !st.Writable && time.Since(st.Since) > unreadyAfter:
		http.Error(w, "no master answers since "+st.Since.UTC().Format(time.RFC3339), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// secure sets what tells browsers to be careful. Nothing inline, nothing from elsewhere.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

func accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		level := slog.LevelInfo
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			level = slog.LevelDebug
		}
		slog.Log(context.WithoutCancel(r.Context()), level, "request", "method", r.Method, "path", r.URL.Path,
			"status", rec.code(), "bytes", rec.bytes, "ms", time.Since(start).Milliseconds(), "from", r.RemoteAddr)
	})
}

func loadAssets() (map[string]asset, error) {
	assets := map[string]asset{}
	err := fs.WalkDir(staticFiles, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := staticFiles.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		assets[d.Name()] = asset{content, hex.EncodeToString(sum[:6])}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read static files: %w", err)
	}
	return assets, nil
}

// assetURL changes with the content, so that browsers may keep what they have for ever.
func (s *Server) assetURL(name string) (string, error) {
	a, ok := s.assets[name]
	if !ok {
		return "", fmt.Errorf("no static file %s", name)
	}
	return "/static/" + name + "?v=" + a.hash, nil
}
