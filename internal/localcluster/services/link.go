package services

import (
	"io"
	"net"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// link is one connection through the proxy: the client's and the backend's half.
type link struct {
	pod             types.UID
	client, backend *net.TCPConn
	free            bool // set stays away from it; guarded by the pool's lock
}

// forward copies both ways until both sides are done. An end of one side's data is passed on as such (half-close);
// an error on either side resets both, as it would be without a proxy in between.
func (l *link) forward() {
	var there sync.WaitGroup
	there.Go(func() { l.copy(l.backend, l.client) })
	l.copy(l.client, l.backend)
	there.Wait()
	// Both are read to the end or reset; what Close says of them does not matter any more.
	_ = l.client.Close()
	_ = l.backend.Close()
}

func (l *link) copy(to, from *net.TCPConn) {
	// Between two TCP connections io.Copy leaves the data in the kernel, where that has splice.
	if _, err := io.Copy(to, from); err != nil {
		l.reset()
		return
	}
	if err := to.CloseWrite(); err != nil {
		l.reset()
	}
}

// reset ends both halves at once. It may be called at any time and more than once.
func (l *link) reset() {
	reset(l.client)
	reset(l.backend)
}

// reset closes a connection so that the peer sees a reset, not an orderly end.
func reset(c *net.TCPConn) {
	// Errors mean that it is closed already.
	_ = c.SetLinger(0)
	_ = c.Close()
}
