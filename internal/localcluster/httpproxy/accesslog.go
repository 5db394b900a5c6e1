package httpproxy

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
)

const (
	// accessLogMegabytes bounds a file of the access log, and accessLogFiles how many older ones are kept.
	accessLogMegabytes = 10
	accessLogFiles     = 3
)

// accessLog is a line of JSON for every request. A nil one writes nothing.
type accessLog struct {
	log  *slog.Logger
	file io.Closer
}

// openAccessLog writes to NAME.log in dir; the file is made by the first line.
func openAccessLog(dir, name string) *accessLog {
	f := &timberjack.Logger{Filename: filepath.Join(dir, name+".log"), MaxSize: accessLogMegabytes, MaxBackups: accessLogFiles}
	plain := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}
	return &accessLog{slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{ReplaceAttr: plain})), f}
}

func (a *accessLog) write(x *exchange, r *http.Request, took time.Duration) {
	if a == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("client", r.RemoteAddr), slog.String("host", r.Host), slog.String("method", r.Method),
		slog.String("path", r.URL.Path), slog.String("proto", r.Proto), slog.Int("code", x.answer.code), slog.Int64("bytes", x.answer.bytes),
		slog.Float64("milliseconds", float64(took.Microseconds())/1000),
	}
	if x.found.Rule != nil {
		attrs = append(attrs, slog.String("route", x.found.Namespace+"/"+x.found.Route), slog.String("rule", x.found.Name))
	}
	if x.backend != nil {
		attrs = append(attrs, slog.String("service", x.backend.Service))
	}
	// A full disk loses lines, no requests.
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "", attrs...)
}

func (a *accessLog) close() {
	if a != nil {
		_ = a.file.Close()
	}
}
