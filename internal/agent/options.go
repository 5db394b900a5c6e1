// Package agent is PID 1 of the pod of one member or one Sentinel: parent of the redis-server, follower of the
// authority. It observes, lets internal/plan decide, and acts; docs/architecture.md has the rules.
package agent

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// Options is what an agent is told by its pod.
type Options struct {
	// Name, Namespace and UID of the pod, and its IP.
	Name, Namespace, UID, IP string
	// MoreIPs are the pod's addresses of another family, in a dual-stack Redis. The server listens on them too, and
	// announces IP alone.
	MoreIPs []string
	// Redis is the name of the Redis, Component v1alpha1.ComponentMember or ComponentSentinel.
	Redis, Component string
	// Dir is where the data is; it must exist.
	Dir string
	// Port of the server (or Sentinel), of the agent's HTTP API, and of the cluster bus.
	Port, AgentPort, BusPort int32
	// ServiceLag is for how long Services may go on to send clients to a pod that lost its label: the kube-proxies of a cluster
	// take changes over once a second, unless they are told otherwise. 0 where Services follow at once, as on one machine.
	ServiceLag time.Duration
	// Server is the path of the redis-server or valkey-server.
	Server string
	// Output gets what the server writes; an *os.File is handed to it as it is.
	Output io.Writer
	Log    *slog.Logger
}

// proxyLag is more than the shortest time between two changes of a kube-proxy's rules (its minSyncPeriod, 1 s by default), and
// what a change takes.
const proxyLag = 2 * time.Second

// OptionsFromEnv reads the environment of the pod, finds the server on PATH and checks all. An error is one line that
// names the variable.
func OptionsFromEnv(getenv func(string) string) (Options, error) {
	o := Options{Output: os.Stdout}
	for _, v := range []struct {
		name string
		into *string
		what string
	}{
		{"POD_NAME", &o.Name, "the pod's name (downward API, metadata.name)"},
		{"POD_NAMESPACE", &o.Namespace, "the pod's namespace (downward API, metadata.namespace)"},
		{"POD_UID", &o.UID, "the pod's UID (downward API, metadata.uid)"},
		{"POD_IP", &o.IP, "the pod's IP (downward API, status.podIP)"},
		{"REDSTART_REDIS", &o.Redis, "the name of the Redis"},
		{"REDSTART_COMPONENT", &o.Component, "member or sentinel"},
	} {
		if *v.into = getenv(v.name); *v.into == "" {
			return Options{}, fmt.Errorf("environment variable %s is not set: expected %s", v.name, v.what)
		}
	}
	if net.ParseIP(o.IP) == nil {
		return Options{}, fmt.Errorf("environment variable POD_IP: expected an IP address, got %q", o.IP)
	}
	for ip := range strings.SplitSeq(getenv("POD_IPS"), ",") {
		switch {
		case ip == "" || ip == o.IP:
		case net.ParseIP(ip) == nil:
			return Options{}, fmt.Errorf("environment variable POD_IPS: expected IP addresses with commas between them, got %q", ip)
		default:
			o.MoreIPs = append(o.MoreIPs, ip)
		}
	}
	serverPort := v1alpha1.PortRedis
	switch o.Component {
	case v1alpha1.ComponentMember:
	case v1alpha1.ComponentSentinel:
		serverPort = v1alpha1.PortSentinel
	default:
		return Options{}, fmt.Errorf("environment variable REDSTART_COMPONENT: expected member or sentinel, got %q", o.Component)
	}
	if getenv("KUBECONFIG") == "" {
		o.ServiceLag = proxyLag
	}
	var err error
	if o.Port, err = localPort(getenv, serverPort); err != nil {
		return Options{}, err
	}
	if o.AgentPort, err = localPort(getenv, v1alpha1.PortAgent); err != nil {
		return Options{}, err
	}
	if o.BusPort, err = localPort(getenv, v1alpha1.PortBus); err != nil {
		return Options{}, err
	}
	if o.Dir = getenv("REDSTART_MOUNT_DATA"); o.Dir == "" {
		o.Dir = "/data"
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return Options{}, fmt.Errorf("data directory: %w", err)
	}
	if o.Server, err = redis.FindServer(); err != nil {
		return Options{}, err
	}
	return o, nil
}

// localPort is which local port stands for a container port.
func localPort(getenv func(string) string, port int32) (int32, error) {
	name := "REDSTART_PORT_" + strconv.Itoa(int(port))
	s := getenv(name)
	if s == "" {
		return port, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("environment variable %s: expected a port from 1 to 65535, got %q", name, s)
	}
	return int32(n), nil
}

// address of the server as others reach it.
func (o *Options) address() string { return net.JoinHostPort(o.IP, strconv.Itoa(int(o.Port))) }
