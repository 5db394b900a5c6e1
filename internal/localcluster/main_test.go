package localcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/internal/process"
)

// The test binary plays the command redstart: the reaper, a small web server, and a whole cluster that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			os.Exit(process.ReaperMain(os.Stdin))
		case "web":
			os.Exit(web(os.Args[2:]))
		case "cluster":
			os.Exit(clusterMain(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// web serves its pod's name and first argument on port 8080 until SIGTERM, and then finishes what it is at.
func web(args []string) int {
	port := "8080"
	if p := os.Getenv("REDSTART_PORT_8080"); p != "" {
		port = p
	}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("POD_IP"), port))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, os.Getenv("POD_NAME"), args)
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

// clusterMain runs a cluster until it is killed.
func clusterMain(dir string) int {
	c, err := Start(context.Background(), testOptions(dir, slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("started")
	fmt.Fprintln(os.Stderr, <-c.Failed())
	return 1
}

func testOptions(dir string, log *slog.Logger) Options {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Options{StateDir: dir, Executable: self, Images: map[string][]string{"web*": {self, "web"}}, Logger: log}
}
