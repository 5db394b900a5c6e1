package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/internal/process"
)

// The test binary plays the command redstart: the reaper, and a small web server.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			os.Exit(process.ReaperMain(os.Stdin))
		case "web":
			os.Exit(web(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// web answers with its version until SIGTERM, and then finishes what it is at. The version "broken" ends at once.
func web(version string) int {
	if version == "broken" {
		return 1
	}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("POD_IP"), "8080"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, version)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	<-ctx.Done()
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(server.Shutdown(drain), <-served); err != nil && !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		return 1
	}
	return 0
}
