package services

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const patience = 30 * time.Second

// server answers every line with its name and the line, until its peer is done; then it says bye.
func server(t *testing.T, name string) (port int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			tasks.Go(func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); ; {
					if !lines.Scan() {
						fmt.Fprintf(c, "bye from %s\n", name)
						return
					}
					fmt.Fprintf(c, "%s %s\n", name, lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
	return int32(l.Addr().(*net.TCPAddr).Port)
}

// podAt is a ready pod whose port 6379 is port on 127.0.0.1.
func podAt(name string, port int32, change ...func(*corev1.Pod)) *corev1.Pod {
	p := testPod(name, "127.0.0.1", change...)
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, "redstart.dev/ports", fmt.Sprintf(`{"6379": %d}`, port))
	return p
}

// open makes a proxy with one Service, and returns the Service's address.
func open(t *testing.T, maxConnections int, change func(*corev1.Service)) (*Proxy, string) {
	t.Helper()
	p := newProxy(slog.New(slog.DiscardHandler), maxConnections, true)
	t.Cleanup(p.Close)
	svc := testService(intstr.FromString("redis"))
	svc.Spec.ClusterIP = "127.0.0.1"
	if change != nil {
		change(svc)
	}
	out, err := p.open(svc, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(out.local[6379])))
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// ask sends a line and returns the answer.
func ask(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	return strings.TrimSpace(string(b[:n])), err
}

// try connects and asks once. A reset may be seen in either step.
func try(address string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	return ask(c)
}

func TestRoundRobinAndAffinity(t *testing.T) {
	for _, affinity := range []bool{false, true} {
		p, address := open(t, 10, func(s *corev1.Service) {
			if affinity {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			}
		})
		p.podChanged(podAt("a", server(t, "a")))
		p.podChanged(podAt("b", server(t, "b")))
		seen := map[string]int{}
		for range 8 {
			c := dial(t, address)
			answer, err := ask(c)
			if err != nil {
				t.Fatal(err)
			}
			seen[answer]++
			_ = c.Close()
		}
		if affinity && len(seen) != 1 {
			t.Errorf("with affinity: %v", seen)
		}
		if !affinity && (seen["a hello"] != 4 || seen["b hello"] != 4) {
			t.Errorf("in turn: %v", seen)
		}
	}
}

func TestRefusedWithoutEndpoints(t *testing.T) {
	p, address := open(t, 10, nil)
	refused := func(why string) {
		t.Helper()
		began := time.Now()
		if _, err := try(address); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%s: %v, want a reset", why, err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s: refused only after %s", why, d)
		}
	}
	refused("no pod")
	port := server(t, "a")
	p.podChanged(podAt("a", port, unready))
	refused("no ready pod")
	p.podChanged(podAt("a", port))
	if _, err := ask(dial(t, address)); err != nil {
		t.Error(err)
	}
	p.podChanged(podAt("a", port, terminating))
	refused("a terminating pod")
	p.podGone(podAt("a", port))
	refused("the pod is gone")
}

// TestDeadBackend has a backend that is ready on paper and refuses connections: the next one is tried at once.
func TestDeadBackend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := int32(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p, address := open(t, 10, nil)
	p.podChanged(podAt("a", dead))
	p.podChanged(podAt("b", server(t, "b")))
	for range 4 {
		if got, err := ask(dial(t, address)); err != nil || got != "b hello" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestHalfClose(t *testing.T) {
	p, address := open(t, 10, nil)
	p.podChanged(podAt("a", server(t, "a")))
	c := dial(t, address)
	if _, err := io.WriteString(c, "one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "a one\na two\nbye from a\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestLeavingBackends cuts connections to a pod that left the Service, at once, and no others.
func TestLeavingBackends(t *testing.T) {
	p, address := open(t, 10, nil)
	port := server(t, "a")
	stays := func(c net.Conn, why string) {
		t.Helper()
		if got, err := ask(c); err != nil || got != "a hello" {
			t.Errorf("%s: %q, %v; the connection should go on", why, got, err)
		}
	}
	p.podChanged(podAt("a", port))
	c := dial(t, address)
	stays(c, "ready")
	p.podChanged(podAt("a", port, unready))
	stays(c, "not ready")
	p.podChanged(podAt("a", port, terminating))
	stays(c, "terminating")
	began := time.Now()
	p.podChanged(podAt("a", port, other))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the label is gone: %v, want a reset", err)
	}
	t.Logf("the reset came %s after the label changed", time.Since(began).Round(time.Microsecond))
}

// TestNewSelector lets connections to pods that another selector leaves out go on, and sends new ones elsewhere.
func TestNewSelector(t *testing.T) {
	p, address := open(t, 10, nil)
	port := server(t, "a")
	p.podChanged(podAt("a", port))
	c := dial(t, address)
	if got, err := ask(c); err != nil || got != "a hello" {
		t.Fatalf("%q, %v", got, err)
	}
	svc := testService(intstr.FromString("redis"))
	svc.Spec.ClusterIP, svc.Spec.Selector = "127.0.0.1", map[string]string{"version": "other"}
	local := map[int32]int32{6379: int32(c.RemoteAddr().(*net.TCPAddr).Port)}
	if _, err := p.open(svc, local); err != nil {
		t.Fatal(err)
	}
	p.podChanged(podAt("a", port, unready)) // whatever happens to the pod later
	if got, err := ask(c); err != nil || got != "a hello" {
		t.Errorf("after another selector: %q, %v; the connection should go on", got, err)
	}
	if got, err := try(address); err == nil {
		t.Errorf("a new connection got %q, want a reset: no pod is selected", got)
	}
	// Once selected again, it is cut like any other when its pod leaves.
	back := svc.DeepCopy()
	back.Spec.Selector = testService(intstr.FromString("redis")).Spec.Selector
	if _, err := p.open(back, local); err != nil {
		t.Fatal(err)
	}
	p.podChanged(podAt("a", port, other))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the label is gone: %v, want a reset", err)
	}
}

func TestLimit(t *testing.T) {
	p, address := open(t, 2, nil)
	p.podChanged(podAt("a", server(t, "a")))
	var held []*net.TCPConn
	for range 2 {
		c := dial(t, address)
		if _, err := ask(c); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := try(address); err == nil {
		t.Error("a third connection was let in")
	}
	if err := held[0].Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		if _, err := try(address); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a connection that ended leaves no room for another")
		}
	}
}

// TestUnderLoad moves the role among three pods while clients connect: every answer comes from a pod that was master
// after the client connected, and nobody hangs.
func TestUnderLoad(t *testing.T) {
	p, address := open(t, 200, func(s *corev1.Service) { s.Spec.Selector["redis-role"] = "master" })
	names := []string{"a", "b", "c"}
	ports := map[string]int32{}
	for _, n := range names {
		ports[n] = server(t, n)
	}
	role := func(name, role string) {
		p.podChanged(podAt(name, ports[name], func(p *corev1.Pod) { p.Labels["redis-role"] = role }))
	}
	// The master at each moment: what a client may see is the one when it connected, or a later one.
	var mu sync.Mutex
	var history []string
	move := func(to string) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range names {
			if n != to {
				role(n, "replica")
			}
		}
		role(to, "master")
		history = append(history, to)
	}
	since := func() int { mu.Lock(); defer mu.Unlock(); return len(history) - 1 }
	move("a")

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var count struct {
		sync.Mutex
		answers, resets int
	}
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := since()
				c, err := net.Dial("tcp", address)
				if err != nil {
					count.Lock()
					count.resets++
					count.Unlock()
					continue
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				var answer string
				for range 5 {
					if answer, err = ask(c); err != nil {
						break
					}
					name, _, _ := strings.Cut(answer, " ")
					mu.Lock()
					if !slices.Contains(history[at:], name) {
						t.Errorf("%q answered, which was no master since the client connected", name)
					}
					mu.Unlock()
				}
				count.Lock()
				if err != nil {
					count.resets++
				} else {
					count.answers++
				}
				count.Unlock()
				_ = c.Close()
			}
		})
	}
	for i := range 300 {
		move(names[i%3])
		time.Sleep(time.Millisecond) // the clients' turn; nothing is waited for
	}
	close(stop)
	clients.Wait()
	t.Logf("%d connections served, %d reset, over %d changes of master", count.answers, count.resets, len(history))
	if count.answers == 0 {
		t.Error("nobody was served")
	}
}

func TestPublish(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	portOf := func(l net.Listener) int32 { return int32(l.Addr().(*net.TCPAddr).Port) }
	svc := testService(intstr.FromString("redis"))
	svc.Spec.Type, svc.Spec.ClusterIP = corev1.ServiceTypeLoadBalancer, corev1.ClusterIPNone
	svc.Spec.Ports[0].Port, svc.Spec.Ports[0].NodePort = portOf(taken), portOf(free)

	err = CheckPublished([]*corev1.Service{svc})
	want := fmt.Sprintf("Service db: spec.ports[0].port: cannot listen on %s: ", taken.Addr())
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("CheckPublished: %v, want %q", err, want)
	}
	if me := fmt.Sprintf("PID %d", os.Getpid()); holder(taken.Addr().String()) != "" && !strings.Contains(err.Error(), me) {
		t.Errorf("CheckPublished: %v, want it to name %s", err, me)
	}

	p := newProxy(slog.New(slog.DiscardHandler), 10, false)
	t.Cleanup(p.Close)
	p.podChanged(podAt("a", server(t, "a")))
	out, err := p.open(svc, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.published, []string{free.Addr().String()}) || len(out.conflicts) != 1 || out.conflicts[0].instead != free.Addr().String() {
		t.Errorf("%+v", out)
	}
	if got, err := ask(dial(t, free.Addr().String())); err != nil || got != "a hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err = p.open(svc, nil); err != nil || len(out.conflicts) != 0 || len(out.published) != 1 || out.published[0] != taken.Addr().String() {
		t.Errorf("once the port is free: %+v, %v", out, err)
	}
	p.remove(types.NamespacedName{Namespace: "default", Name: "db"})
	if c, err := net.Dial("tcp", free.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the port is open after the Service is gone")
	}
}

func TestAffinityIsBounded(t *testing.T) {
	p := &pool{}
	p.set([]backend{{uid: "a", address: "x", ready: true}}, time.Minute)
	at := time.Now()
	for i := range maxAffinity + 10 {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		p.admit(&link{pod: "a"}, ip, at)
	}
	if len(p.clients) != maxAffinity {
		t.Errorf("%d clients are remembered, want %d", len(p.clients), maxAffinity)
	}
	p.admit(&link{pod: "a"}, netip.MustParseAddr("11.0.0.1"), at.Add(2*time.Minute))
	if len(p.clients) != 1 {
		t.Errorf("%d clients are remembered after all had their time", len(p.clients))
	}
}
