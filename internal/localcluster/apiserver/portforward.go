package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	portForwardProtocol = "portforward.k8s.io"
	// dialTimeout bounds reaching a port of a pod, which is on this machine.
	dialTimeout = 5 * time.Second
	// maxHalfOpen bounds the forwarded connections of which one of the two streams is still to come.
	maxHalfOpen = 100
)

// portForwardREST is pods/portforward: for every connection the client opens a stream for data and one for an error,
// over SPDY as kubectl and client-go do.
type portForwardREST struct {
	pods *genericregistry.Store
	dial func(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
	log  *slog.Logger
}

func (r *portForwardREST) New() runtime.Object      { return &corev1.Pod{} }
func (r *portForwardREST) Destroy()                 {}
func (r *portForwardREST) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

func (r *portForwardREST) NewConnectOptions() (runtime.Object, bool, string) { return nil, false, "" }

// dialPod reaches a port of a pod where it listens.
func dialPod(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error) {
	address := v1alpha1.PodAddress(pod, port)
	if address == "" {
		return nil, fmt.Errorf("pod %s has no address yet", pod.Name)
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", address)
}

// Connect answers one request to forward ports of the pod named name.
func (r *portForwardREST) Connect(ctx context.Context, name string, _ runtime.Object, responder rest.Responder) (http.Handler, error) {
	obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	if pod.Status.Phase != corev1.PodRunning {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to forward port because pod is not running. Current status=%s", pod.Status.Phase))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := httpstream.Handshake(req, w, []string{portForwardProtocol}); err != nil {
			responder.Error(apierrors.NewBadRequest(err.Error()))
			return
		}
		streams := make(chan httpstream.Stream)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, req, func(s httpstream.Stream, _ <-chan struct{}) error {
			if _, err := strconv.ParseUint(s.Headers().Get(corev1.PortHeader), 10, 16); err != nil {
				return fmt.Errorf("port: expected 1 to 65535: %w", err)
			}
			select {
			case streams <- s:
				return nil
			case <-req.Context().Done():
				return req.Context().Err()
			}
		})
		if conn == nil {
			return // the upgrader has answered
		}
		f := &forwarding{portForwardREST: r, pod: pod, conn: conn}
		f.run(req.Context(), streams)
	}), nil
}

// forwarding is one client's forwarded connections to one pod.
type forwarding struct {
	*portForwardREST
	pod  *corev1.Pod
	conn httpstream.Connection
}

// run pairs the streams of the client and copies, until the client or the server goes.
func (f *forwarding) run(ctx context.Context, streams <-chan httpstream.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	var copies sync.WaitGroup
	defer func() {
		cancel()
		if err := f.conn.Close(); err != nil {
			f.log.Debug("Cannot close a forwarded connection", "pod", f.pod.Name, "error", err)
		}
		copies.Wait()
	}()
	half := map[string]httpstream.Stream{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.conn.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			other, ok := half[id]
			if !ok {
				if len(half) == maxHalfOpen {
					return
				}
				half[id] = s
				continue
			}
			delete(half, id)
			data, fault := s, other
			if data.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				data, fault = other, s
			}
			copies.Go(func() { f.forward(ctx, data, fault) })
		}
	}
}

// forward copies between one stream and one connection to the pod; why it cannot goes to the stream fault.
func (f *forwarding) forward(ctx context.Context, data, fault httpstream.Stream) {
	defer f.conn.RemoveStreams(data, fault)
	if err := f.copy(ctx, data); err != nil {
		// The client may be gone, in which case nobody reads this.
		_, err = fmt.Fprintf(fault, "forward port %s of pod %s: %v", data.Headers().Get(corev1.PortHeader), f.pod.Name, err)
		if err != nil {
			f.log.Debug("Cannot tell why a port is not forwarded", "pod", f.pod.Name, "error", err)
		}
	}
	if err := fault.Close(); err != nil {
		f.log.Debug("Cannot close a forwarded stream", "pod", f.pod.Name, "error", err)
	}
}

func (f *forwarding) copy(ctx context.Context, data httpstream.Stream) error {
	port, err := strconv.ParseInt(data.Headers().Get(corev1.PortHeader), 10, 32)
	if err != nil {
		return err
	}
	backend, err := f.dial(ctx, f.pod, int32(port))
	if err != nil {
		return errors.Join(err, data.Reset())
	}
	// The end of ctx ends both copies: the backend by closing it, the stream by closing its connection.
	stop := context.AfterFunc(ctx, func() { _ = backend.Close() })
	defer stop()
	defer func() { _ = backend.Close() }() // it was closed before, or nobody listens any more

	up := make(chan struct{})
	go func() {
		defer close(up)
		_, err := io.Copy(backend, data)
		if half, ok := backend.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		if err != nil {
			f.log.Debug("A forwarded connection ended", "pod", f.pod.Name, "error", err)
		}
	}()
	_, err = io.Copy(data, backend)
	// The pod has said all that it will. The client reads that, and then resets the stream, which ends the other copy;
	// a client that is gone does the same.
	if closeErr := data.Close(); closeErr != nil {
		f.log.Debug("Cannot close a forwarded stream", "pod", f.pod.Name, "error", closeErr)
	}
	<-up
	return err
}
