//go:build unix

package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// A pod of a StatefulSet runs until the others have stopped.
func TestStopsClientsFirst(t *testing.T) {
	c := start(t)
	order := filepath.Join(c.dir, "order")
	script := func(name, before string) string {
		return `trap "` + before + `echo ` + name + ` >> ` + order + `; exit 0" TERM; sleep 61 & wait`
	}
	server := shellPod("server", script("server", ""))
	server.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "StatefulSet", Name: "set", UID: "1", Controller: ptr.To(true),
	}}
	c.create(server)
	c.create(shellPod("client", script("client", "sleep 0.5; "))) // stopped at once, it would come second
	c.until("server", "is ready", ready)
	c.until("client", "is ready", ready)
	c.stop()
	if b, err := os.ReadFile(order); err != nil || string(b) != "client\nserver\n" {
		t.Errorf("stopped in the order %q, %v", b, err)
	}
}

// A tier whose pods take long holds up the next one only so long.
func TestTierClosesInTime(t *testing.T) {
	work, end := context.WithCancel(context.Background())
	var slow tier
	slow.open(work)
	slow.running.Go(func() { <-work.Done() })
	closed := make(chan struct{})
	go func() {
		slow.close(10 * time.Millisecond)
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("waits for a pod that does not end")
	}
	if slow.node.Err() == nil {
		t.Error("the pods are not told to stop")
	}
	end()
	slow.running.Wait()
}
