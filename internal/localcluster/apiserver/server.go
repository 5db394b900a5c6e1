// Package apiserver serves a Kubernetes-shaped REST API on loopback, for one machine: the kinds that Redstart needs,
// with the semantics that client-go, controller-runtime and kubectl expect. It is built on k8s.io/apiserver and its
// generic registry; only the storage, the defaults, the validation and the columns are ours. What one machine cannot
// honour is refused by the name of its field.
package apiserver

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"

	"redstart.dev/redstart/internal/localcluster/apiserver/store"
)

// shutdownTimeout bounds how long requests may go on after Run's context ended. Idle connections of HTTP/2 never end
// by themselves within it; they are cut.
const shutdownTimeout = 200 * time.Millisecond

// Options configure a Server.
type Options struct {
	// StateDir is where the store, the certificate, the token and the kubeconfig are kept.
	StateDir string
	// Address to listen on, IP:PORT; port 0 takes a free one. The IP is in the certificate.
	Address string
	// Logger gets what an operator of the server wants to know; nil discards it.
	Logger *slog.Logger
	// Logs answers kubectl logs; without it there are none.
	Logs LogSource
	// Forward connects to a port of a pod, for kubectl port-forward. Without it v1alpha1.PodAddress is dialled.
	Forward func(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
	// ServiceIPs is the range that cluster IPs are taken from, in order. A range of one address is shared by all
	// Services. The zero value is 127.0.1.0/24.
	ServiceIPs netip.Prefix
	// NodePorts is the first and the last port that Services of type NodePort and LoadBalancer are given; zero is
	// Kubernetes' own 30000 to 32767.
	NodePorts [2]int32
}

// LogSource gives the output of containers.
type LogSource interface {
	// PodLogs opens the log of one container of pod; opts.Container is always set to one that exists. The caller
	// closes the reader; with opts.Follow it ends when the container does, or with ctx. Timestamps, tailLines,
	// sinceSeconds, sinceTime, limitBytes and previous are for the source to honour. An error that is an
	// apierrors.APIStatus is given to the client as it is.
	PodLogs(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) (io.ReadCloser, error)
}

// Server is the API server. The k8s.io libraries below it have settings that are global to a process; servers may
// follow each other in one process, and tests may run several, but they share those settings.
type Server struct {
	log      *slog.Logger
	db       *store.DB
	id       *identity
	listener net.Listener
	generic  *genericapiserver.GenericAPIServer
	kinds    *kinds
}

// New opens the store, listens and writes the kubeconfig to StateDir/kubeconfig. Clients may connect at once; they
// are answered when Run runs. A Server that New returned must be Run, also if only to close it.
func New(o Options) (_ *Server, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, listener.Close())
		}
	}()
	addr := listener.Addr().(*net.TCPAddr)
	id, err := loadIdentity(o.StateDir, addr.IP)
	if err != nil {
		return nil, err
	}
	db, err := store.Open(filepath.Join(o.StateDir, "store.db"), o.Logger)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	s := &Server{log: o.Logger, db: db, id: id, listener: listener}
	if err := s.install(o); err != nil {
		return nil, err
	}
	config, err := id.kubeconfig(s.RESTConfig().Host)
	if err != nil {
		return nil, fmt.Errorf("make the kubeconfig: %w", err)
	}
	if err := writeFile(filepath.Join(o.StateDir, "kubeconfig"), config); err != nil {
		return nil, fmt.Errorf("write the kubeconfig: %w", err)
	}
	return s, nil
}

// Run serves until ctx ends, then ends every request, writes the store to disk and closes it.
func (s *Server) Run(ctx context.Context) error {
	prepared := s.generic.PrepareRun() // all paths are there before the first client is answered
	var tasks sync.WaitGroup
	storeCtx, stopStore := context.WithCancel(context.Background())
	tasks.Go(func() { s.db.Run(storeCtx) })

	// Requests, watches above all, end with their base context; nothing of ours outlives Run.
	requests, stopRequests := context.WithCancel(context.Background())
	web := &http.Server{
		Handler:           s.generic.Handler,
		BaseContext:       func(net.Listener) context.Context { return requests },
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.id.cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	serveErr := make(chan error, 1)
	tasks.Go(func() { serveErr <- web.ServeTLS(s.listener, "", "") })

	_, _, err := prepared.NonBlockingRunWithContext(ctx, shutdownTimeout)
	if err == nil {
		s.log.Info("The API is served", "address", s.RESTConfig().Host)
		select {
		case <-ctx.Done():
		case err = <-serveErr:
		}
	}
	stopRequests()
	closing, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if web.Shutdown(closing) != nil {
		err = errors.Join(err, web.Close())
	}
	s.generic.Destroy()
	stopStore()
	tasks.Wait()
	if err := errors.Join(err, s.db.Close()); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// RESTConfig is how to reach the server, with all rights. Rate limits and compression are off: the server is on this machine.
func (s *Server) RESTConfig() *rest.Config {
	return &rest.Config{
		Host:            "https://" + s.listener.Addr().String(),
		BearerToken:     s.id.token,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.id.ca},
		QPS:             -1,

		DisableCompression: true,
	}
}

// authenticator knows one user, who may do everything.
func (id *identity) authenticator() authenticator.Request {
	admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return bearertoken.New(authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		if subtle.ConstantTimeCompare([]byte(token), []byte(id.token)) != 1 {
			return nil, false, nil
		}
		return &authenticator.Response{User: admin}, true, nil
	}))
}
