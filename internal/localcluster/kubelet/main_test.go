package kubelet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/internal/localcluster/address"
	"redstart.dev/redstart/internal/process"
)

// The test binary plays the command redstart: the reaper, a small web server, and a kubelet that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			process.ReaperMain(os.Stdin)
			return
		case "web":
			web()
			return
		case "kubelet":
			kubeletMain(os.Args[2])
			return
		}
	}
	os.Exit(m.Run())
}

// web answers on the pod's address: /readyz as long as there is a file "ready" in its volume, /livez until /die is
// asked for. A file "terminated" tells that it was asked to stop.
func web() {
	data := os.Getenv("REDSTART_MOUNT_DATA")
	port := os.Getenv("REDSTART_PORT_8080")
	if port == "" {
		port = "8080"
	}
	dead := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(filepath.Join(data, "ready")); err != nil {
			http.Error(w, "no file", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-dead:
			http.Error(w, "dead", http.StatusInternalServerError)
		default:
		}
	})
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { close(dead) })
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("POD_IP"), port))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	<-ctx.Done()
	_ = os.WriteFile(filepath.Join(data, "terminated"), nil, 0o600)
}

// kubeletMain runs a kubelet on the state directory until it is killed.
func kubeletMain(dir string) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err == nil {
		var k *Kubelet
		if k, err = newTestKubelet(config, dir, nil); err == nil {
			err = k.Run(context.Background())
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func newTestKubelet(config *rest.Config, dir string, images map[string][]string) (*Kubelet, error) {
	// An own network for each test process keeps them apart on a shared machine.
	addresses, err := address.Loopback(byte(200+os.Getppid()%50), filepath.Join(dir, "address"))
	if err != nil {
		return nil, err
	}
	return New(Options{
		Config: config, StateDir: dir, NodeName: "local", Version: "v1.2.3", Executable: os.Args[0],
		KubeconfigPath: filepath.Join(dir, "kubeconfig"), Images: images, Addresses: addresses,
	})
}
