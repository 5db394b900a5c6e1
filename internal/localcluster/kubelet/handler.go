package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"redstart.dev/redstart/internal/process"
)

// maxAnswer bounds what is read of a probe's answer; more is dropped.
const maxAnswer = 4 << 10

// probeTransport asks pods: no proxy, no kept connections, any certificate, as every kubelet does.
func probeTransport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		// The probe asks whether the server answers, not who it is.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	} // #nosec G402
}

// check does what a probe asks, within its time.
func (c *container) check(ctx context.Context, r execution, p *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(atLeast(p.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case p.Exec != nil:
		return c.exec(ctx, r, p.Exec.Command)
	case p.HTTPGet != nil:
		return c.httpGet(ctx, p.HTTPGet)
	case p.TCPSocket != nil:
		address, err := c.reach(p.TCPSocket.Host, p.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return nil
}

// hook does what a lifecycle handler asks. It is bounded by ctx alone.
func (c *container) hook(ctx context.Context, r execution, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		return c.exec(ctx, r, h.Exec.Command)
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	case h.Sleep != nil:
		sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	}
	return nil
}

// exec runs a command beside the container's process; its error holds what the command said.
func (c *container) exec(ctx context.Context, r execution, command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("exec: the command is empty")
	}
	name := command[0]
	if name == "redstart" || strings.HasSuffix(name, "/redstart") {
		name = c.w.k.o.Executable
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("exec: command %q is not on this machine", name)
	}
	var out limited
	p, err := process.Start(process.Command{Path: path, Args: command[1:], Env: r.env, Dir: r.dir, Stdout: &out, Reaper: c.w.k.reaper})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
		return fmt.Errorf("exec %s: %w", command[0], ctx.Err())
	}
	if e := p.Exit(); e.Code != 0 {
		return fmt.Errorf("exec %s: %s: %s", command[0], e, bytes.TrimSpace(out.b))
	}
	return nil
}

// limited keeps the first bytes.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxAnswer-len(l.b))]...)
	return len(p), nil
}

func (c *container) httpGet(ctx context.Context, h *corev1.HTTPGetAction) error {
	address, err := c.reach(h.Host, h.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if h.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/"+strings.TrimPrefix(h.Path, "/"), nil)
	if err != nil {
		return fmt.Errorf("httpGet: %w", err)
	}
	req.Header.Set("User-Agent", "kube-probe/redstart")
	for _, header := range h.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			req.Host = header.Value
		}
		req.Header.Add(header.Name, header.Value)
	}
	// A redirect is an answer, and a good one.
	web := &http.Client{Transport: probeTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := web.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 200 && answer.StatusCode < 400 {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // for the message alone
	return fmt.Errorf("HTTP status %d: %s", answer.StatusCode, bytes.TrimSpace(body))
}

// reach is HOST:PORT of a port of the container; host is the pod's own unless given.
func (c *container) reach(host string, port intstr.IntOrString) (string, error) {
	at := c.w.place()
	n := port.IntVal
	if port.Type == intstr.String {
		n = 0
		for _, p := range c.spec.Ports {
			if p.Name == port.StrVal {
				n = p.ContainerPort
			}
		}
		if n == 0 {
			return "", fmt.Errorf("container %s has no port named %q", c.spec.Name, port.StrVal)
		}
	}
	if host == "" {
		host, n = at.address.IP.String(), at.address.Port(n)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n))), nil
}
