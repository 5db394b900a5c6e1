package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forwarding is a local port that stands for one of a pod.
type Forwarding struct {
	// Address to connect to, 127.0.0.1:PORT.
	Address string
	// Done is closed when the forwarding has ended; Err says why.
	Done <-chan struct{}
	err  error
	stop context.CancelFunc
}

// Stop ends the forwarding and waits for it.
func (f *Forwarding) Stop() {
	f.stop()
	<-f.Done
}

// Err is why the forwarding ended, nil after Stop. It may be asked once Done is closed.
func (f *Forwarding) Err() error { return f.err }

// Forward makes a port of a pod reachable at local, a port of 127.0.0.1 (0: any), through the API server. It returns when
// connections are accepted.
func (c *Client) Forward(ctx context.Context, namespace, pod string, local, port int32) (*Forwarding, error) {
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, fmt.Errorf("port-forward to %s: %w", pod, err)
	}
	url := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	dialer := overSPDY
	if overWebSocket, err := portforward.NewSPDYOverWebsocketDialer(url, c.Config); err == nil {
		// Newer servers speak WebSocket, older ones SPDY alone.
		dialer = portforward.NewFallbackDialer(overWebSocket, overSPDY, func(error) bool { return true })
	}
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan struct{})
	pf, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)}, ctx.Done(), ready, io.Discard, io.Discard)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("port-forward to %s: %w", pod, err)
	}
	done := make(chan struct{})
	f := &Forwarding{Done: done, stop: cancel}
	go func() {
		defer close(done)
		defer cancel()
		f.err = pf.ForwardPorts()
	}()
	select {
	case <-done:
		return nil, fmt.Errorf("port-forward to port %d of %s: %w", port, pod, f.err)
	case <-ready:
	}
	ports, err := pf.GetPorts()
	if err != nil || len(ports) == 0 {
		f.Stop()
		return nil, fmt.Errorf("port-forward to port %d of %s: %w", port, pod, err)
	}
	f.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local)))
	return f, nil
}
