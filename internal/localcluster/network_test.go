package localcluster

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStateDir(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv(StateDirEnv, "")
	for _, tt := range []struct{ flag, env, xdg, want string }{
		{want: "/home/me/.local/state/redstart"},
		{xdg: "/state", want: "/state/redstart"},
		{xdg: "relative", want: "/home/me/.local/state/redstart"},
		{env: "/env", xdg: "/state", want: "/env"},
		{flag: "/flag", env: "/env", want: "/flag"},
	} {
		t.Setenv(StateDirEnv, tt.env)
		t.Setenv("XDG_STATE_HOME", tt.xdg)
		if got, err := StateDir(tt.flag); err != nil || got != tt.want {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
}

func TestNetworkIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := chooseNetwork(dir, AddressesOwn)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", first.api.String())
	if err != nil {
		t.Skipf("another cluster took the network in the meantime: %v", err)
	}
	defer other.Close()
	second, err := chooseNetwork(t.TempDir(), AddressesOwn)
	if err != nil || second.number == first.number {
		t.Errorf("with 127.%d taken: 127.%d, %v", first.number, second.number, err)
	}
	if got := first.services().String(); first.number < firstNetwork || got == second.services().String() {
		t.Errorf("services are in %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, networkFile), []byte(second.api.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := chooseNetwork(dir, AddressesOwn); err != nil || again.number != second.number {
		t.Errorf("the remembered 127.%d became 127.%d, %v", second.number, again.number, err)
	}
}

// A cluster keeps its address mode, and the port of its API where addresses are shared.
func TestAddressModeIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := chooseNetwork(dir, AddressesShared)
	if err != nil || first.api.Addr().String() != "127.0.0.1" || first.api.Port() == 0 {
		t.Fatalf("the API is at %s, %v", first.api, err)
	}
	if again, err := chooseNetwork(dir, ""); err != nil || again != first {
		t.Errorf("the next start chose %+v, %v; want %+v", again, err, first)
	}
	taken, err := net.Listen("tcp", first.api.String())
	if err != nil {
		t.Skipf("another program took the port in the meantime: %v", err)
	}
	defer taken.Close()
	if other, err := chooseNetwork(dir, ""); err != nil || other.mode != AddressesShared || other.api == first.api {
		t.Errorf("with %s taken: %+v, %v", first.api, other, err)
	}
	if n, err := chooseNetwork(t.TempDir(), ""); err != nil || n.mode != defaultMode() {
		t.Errorf("a new cluster has %+v, %v", n, err)
	}
	if _, err := chooseNetwork(dir, "none"); err == nil || err.Error() != `address mode "none": expected loopback or shared` {
		t.Errorf("mode none: %v", err)
	}
}

// TestNetworkTaken starts a cluster again whose network somebody else has by now: its Services move.
func TestNetworkTaken(t *testing.T) {
	dir := t.TempDir()
	var api string
	t.Run("before", func(t *testing.T) {
		c := start(t, dir)
		api = c.RESTConfig().Host[len("https://"):]
		must(c.CoreV1().Services("default").Create(c.ctx, webService("web"), metav1.CreateOptions{}))(c)
	})
	taken, err := net.Listen("tcp", api)
	if err != nil {
		t.Skipf("another cluster took the network in the meantime: %v", err)
	}
	defer taken.Close()
	c := start(t, dir)
	network, err := readNetwork(filepath.Join(dir, networkFile))
	if err != nil {
		t.Fatal(err)
	}
	svc := must(c.CoreV1().Services("default").Get(c.ctx, "web", metav1.GetOptions{}))(c)
	ip := net.ParseIP(svc.Spec.ClusterIP)
	if ip == nil || ip.To4()[1] != network.number || svc.Spec.ClusterIPs[0] != svc.Spec.ClusterIP {
		t.Errorf("the Service has %s and %v in network 127.%d", svc.Spec.ClusterIP, svc.Spec.ClusterIPs, network.number)
	}
	c.eventually("the Service's address is open", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(svc.Spec.ClusterIP, "80"))
		return err != nil && !isRefused(err) || err == nil && conn.Close() == nil
	})
}

// isRefused tells a closed port from one whose Service has no pods, which resets.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
