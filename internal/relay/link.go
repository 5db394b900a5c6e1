// Package relay passes the bytes of TCP connections on.
package relay

import (
	"io"
	"net"
	"sync"
)

// Link is one connection that is passed on: the client's half and the backend's.
type Link struct{ Client, Backend *net.TCPConn }

// Forward copies both ways until both sides are done. An end of one side's data is passed on as such (half-close);
// an error on either side resets both, as it would be without anything in between.
func (l *Link) Forward() {
	var there sync.WaitGroup
	there.Go(func() { l.copy(l.Backend, l.Client) })
	l.copy(l.Client, l.Backend)
	there.Wait()
	// Both are read to the end or reset; what Close says of them does not matter any more.
	_ = l.Client.Close()
	_ = l.Backend.Close()
}

func (l *Link) copy(to, from *net.TCPConn) {
	// Between two TCP connections io.Copy leaves the data in the kernel, where that has splice.
	if _, err := io.Copy(to, from); err != nil {
		l.Reset()
		return
	}
	if err := to.CloseWrite(); err != nil {
		l.Reset()
	}
}

// Reset ends both halves at once. It may be called at any time and more than once.
func (l *Link) Reset() {
	Reset(l.Client)
	Reset(l.Backend)
}

// Reset closes a connection so that the peer sees a reset, not an orderly end.
func Reset(c *net.TCPConn) {
	// Errors mean that it is closed already.
	_ = c.SetLinger(0)
	_ = c.Close()
}
