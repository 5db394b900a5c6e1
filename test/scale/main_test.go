// Package scale measures the operator at size: many Redises, many Rollouts, one operator in a process of its own, against
// a real API server with its etcd and the real workload controllers. make scale runs it.
//
// What is missing are nodes. Nobody runs a container: a goroutine does what a scheduler and a kubelet do to the API (it gives a
// pod a node and an address, and makes it ready), and an HTTP server on loopback answers as the agents of the members do.
// That is all that the operator knows of a pod.
package scale_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"
)

var (
	programs = flag.String("programs", "", "`DIR` with etcd, kube-apiserver and kube-controller-manager; kubelab build makes it; empty skips all")
	redstart = flag.String("redstart", "", "`FILE` of the program redstart")
	redises  = flag.Int("redises", 200, "how many Redises")
	rollouts = flag.Int("rollouts", 1000, "how many Rollouts")
	resyncs  = flag.Int("resyncs", 60, "how many times every Rollout is looked at anew")
	calm     = flag.Duration("calm", 8*time.Minute, "for how long nothing changes before the steady state is measured")
	steady   = flag.Duration("steady", 5*time.Minute, "for how long it is measured")
)

// patience bounds what all objects together wait for. The machine may be ten times slower than its best.
const patience = 40 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// needPrograms skips a test that has nothing to run.
func needPrograms(t *testing.T) {
	t.Helper()
	if *programs == "" || *redstart == "" {
		t.Skip("-programs and -redstart say what to run; make scale does")
	}
}

// background runs f until the test is over, and waits for it.
func background(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// eventually waits until ok has no error. It asks the more seldom the longer it waits: asking costs those who are measured.
func eventually(t *testing.T, what string, limit time.Duration, ok func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		case <-time.After(max(200*time.Millisecond, min(time.Since(began)/20, 2*time.Second))):
		}
	}
}

// pass lets time go by.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test was ended")
	}
}

// each does something for the numbers below n, some at a time.
func each(t *testing.T, n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	all, ctx := errgroup.WithContext(t.Context())
	all.SetLimit(8)
	for i := range n {
		all.Go(func() error { return do(ctx, i) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// namespaceOf spreads objects over some namespaces, as people do.
func namespaceOf(i int) string { return fmt.Sprintf("team-%d", i%namespaces) }

const namespaces = 10

// program is where a program really is: its name may be a link that goes away.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(*programs, name))
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	return path
}
