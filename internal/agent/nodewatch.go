package agent

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// watchDial bounds one connection to the master's server, and watchAgain is how often one is tried.
	watchDial  = 500 * time.Millisecond
	watchAgain = 50 * time.Millisecond
)

// masterWatch keeps an idle connection to a master's server, for nothing but its end: the kernel tells at once when the
// process is gone, long before anybody times out.
type masterWatch struct {
	address string
	stop    context.CancelFunc
	// lost: the connection ended, and the master's host refuses another: the server is dead, its port is closed.
	lost atomic.Bool
}

// watchMaster keeps the watch on the present master of a replica.
func (m *member) watchMaster(ctx context.Context) {
	address := ""
	if v := m.node.view; v != nil && m.server.running() {
		if own := v.Myself(); own != nil && own.Role == v1alpha1.RoleReplica {
			if master := v.Node(own.MasterID); master != nil && !master.NoAddress {
				address = master.Address
			}
		}
	}
	w := m.node.watch
	if w != nil && w.address == address {
		return
	}
	if w != nil {
		w.stop()
		m.node.watch = nil
	}
	if address == "" {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w = &masterWatch{address: address, stop: cancel}
	m.node.watch = w
	m.working.Go(func() { w.run(ctx, m.nudge) })
}

// run calls changed when the master was lost.
func (w *masterWatch) run(ctx context.Context, changed func()) {
	again := time.NewTicker(watchAgain)
	defer again.Stop()
	dialer := net.Dialer{Timeout: watchDial}
	seen := false
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", w.address)
		switch {
		case err == nil:
			seen = true
			w.lost.Store(false)
			awaitEnd(ctx, conn)
			continue // at once: a refusal now is the proof
		case seen && errors.Is(err, syscall.ECONNREFUSED) && !w.lost.Swap(true):
			changed()
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

// awaitEnd blocks until the other side closes the connection, or ctx ends.
func awaitEnd(ctx context.Context, conn net.Conn) {
	end := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer end()
	defer conn.Close()
	var b [1]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}
