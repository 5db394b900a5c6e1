package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/localcluster/gateways"
	"redstart.dev/redstart/internal/localcluster/services"
)

// summary is what up ends with, and what up -o json prints.
type summary struct {
	// StartMilliseconds is the time from the start of the command until everything was ready.
	StartMilliseconds int64            `json:"startMilliseconds"`
	Kubeconfig        string           `json:"kubeconfig"`
	StateDir          string           `json:"stateDir"`
	PID               int              `json:"pid"`
	Redises           []redisSummary   `json:"redises"`
	Services          []serviceSummary `json:"services"`
	// GatewayMetrics is the URL where Prometheus reads what the Gateways serve; empty without a Gateway.
	GatewayMetrics string `json:"gatewayMetrics,omitempty"`
}

type redisSummary struct {
	Name string `json:"name"`
	// Namespace is empty for the one that the command is about, as in serviceSummary.
	Namespace          string   `json:"namespace,omitempty"`
	Mode               string   `json:"mode"`
	Version            string   `json:"version,omitempty"`
	Master             string   `json:"master"`
	Shards             int      `json:"shards,omitempty"`
	Ready              string   `json:"ready"`
	Write              string   `json:"write,omitempty"`
	Read               string   `json:"read,omitempty"`
	Sentinels          []string `json:"sentinels,omitempty"`
	SentinelMasterName string   `json:"sentinelMasterName,omitempty"`
}

// serviceSummary is a published Service, with a URL where it speaks HTTP and HOST:PORT otherwise.
type serviceSummary struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Port      string `json:"port,omitempty"`
	Address   string `json:"address,omitempty"`
	// Problem says which port another program has, and where the Service is published instead, if anywhere.
	Problem string `json:"problem,omitempty"`
}

// summarize asks the API what runs, in the namespace of the client first, and then in all others.
func summarize(ctx context.Context, c *client.Client) (*summary, error) {
	s := &summary{Redises: []redisSummary{}, Services: []serviceSummary{}}
	all := c.In(metav1.NamespaceAll)
	redises, err := all.RedisList(ctx)
	if err != nil {
		return nil, err
	}
	other := func(namespace string) string { // empty for ours
		if namespace == c.Namespace {
			return ""
		}
		return namespace
	}
	slices.SortStableFunc(redises, func(x, y *v1alpha1.Redis) int { return strings.Compare(other(x.Namespace), other(y.Namespace)) })
	for _, r := range redises {
		line := redisSummary{
			Name: r.Name, Namespace: other(r.Namespace), Mode: string(r.Spec.Mode), Master: r.Status.Master, Ready: r.Status.Ready, Shards: len(r.Status.Shards),
			Version: strings.TrimSpace(r.Status.Engine + " " + r.Status.Version),
		}
		if e := r.Status.Endpoints; e != nil {
			line.Write, line.Read, line.Sentinels, line.SentinelMasterName = e.Write, e.Read, e.Sentinels, e.SentinelMasterName
		}
		s.Redises = append(s.Redises, line)
	}
	list, err := c.Kube.CoreV1().Services(all.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.Explain(err)
	}
	slices.SortStableFunc(list.Items, func(x, y corev1.Service) int { return strings.Compare(other(x.Namespace), other(y.Namespace)) })
	for i := range list.Items {
		svc := &list.Items[i]
		s.Services = append(s.Services, published(svc, other(svc.Namespace))...)
	}
	s.GatewayMetrics, err = gatewayMetrics(ctx, c)
	return s, err
}

// gatewayMetrics is the URL of the metrics of the Gateways; empty if there is no Gateway.
func gatewayMetrics(ctx context.Context, c *client.Client) (string, error) {
	svc, err := c.Kube.CoreV1().Services(gateways.MetricsNamespace).Get(ctx, gateways.MetricsService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", c.Explain(err)
	}
	return "http://" + v1alpha1.ServiceAddress(svc, gateways.MetricsPort) + "/metrics", nil
}

// published is where a Service is reached from outside, as the Service proxy says.
func published(svc *corev1.Service, namespace string) []serviceSummary {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && svc.Spec.Type != corev1.ServiceTypeNodePort {
		return nil
	}
	var out []serviceSummary
	addresses := strings.Split(svc.Annotations[services.AnnotationPublished], ",")
	for i, p := range svc.Spec.Ports {
		if i >= len(addresses) || addresses[i] == "" {
			continue // not published, see the problem
		}
		address := addresses[i]
		if speaksHTTP(p) {
			address = "http://" + address
		}
		out = append(out, serviceSummary{Name: svc.Name, Namespace: namespace, Port: p.Name, Address: address})
	}
	if c := meta.FindStatusCondition(svc.Status.Conditions, services.ConditionPublished); c != nil && c.Status == metav1.ConditionFalse {
		if len(out) == 0 {
			out = append(out, serviceSummary{Name: svc.Name, Namespace: namespace})
		}
		out[0].Problem = c.Message
	}
	return out
}

// speaksHTTP goes by what the port says of itself, and else by the usual numbers.
func speaksHTTP(p corev1.ServicePort) bool {
	if p.AppProtocol != nil {
		return strings.HasPrefix(*p.AppProtocol, "http")
	}
	return strings.HasPrefix(p.Name, "http") || p.Name == "web" || p.Name == "" && (p.Port == 80 || p.Port == 8080)
}

// print writes the summary for people, with what to try next; redstart is how to call this program.
func (s *summary) print(w io.Writer, redstart string, background bool) {
	fmt.Fprintf(w, "\nRunning after %.1f s.\n\n", (time.Duration(s.StartMilliseconds) * time.Millisecond).Seconds())
	for _, v := range s.Services {
		fmt.Fprintf(w, "  %-12s %s\n", path.Join(v.Namespace, v.Name), cmp.Or(v.Address, "not published"))
		if v.Problem != "" {
			fmt.Fprintf(w, "    %s\n", v.Problem)
		}
	}
	if s.GatewayMetrics != "" {
		fmt.Fprintf(w, "  %-12s %s\n", "metrics", s.GatewayMetrics)
	}
	for _, r := range s.Redises {
		about := "master " + r.Master
		if r.Mode == string(v1alpha1.ModeCluster) {
			about = fmt.Sprintf("%d shards", r.Shards)
		}
		fmt.Fprintf(w, "  %-12s %s, mode %s, %s ready, %s\n", path.Join(r.Namespace, r.Name), r.Version, r.Mode, r.Ready, about)
		switch {
		case r.Mode == string(v1alpha1.ModeCluster):
			fmt.Fprintf(w, "    %-10s %s\n", "cluster", r.Write)
		case r.Write != "":
			fmt.Fprintf(w, "    %-10s %s\n", "writes", r.Write)
		}
		if r.Read != "" {
			fmt.Fprintf(w, "    %-10s %s\n", "reads", r.Read)
		}
		if len(r.Sentinels) > 0 {
			fmt.Fprintf(w, "    %-10s %s (master name %s)\n", "Sentinels", strings.Join(r.Sentinels, " "), r.SentinelMasterName)
		}
	}
	fmt.Fprintf(w, "  %-12s %s\n", "kubeconfig", s.Kubeconfig)
	fmt.Fprintf(w, "\nTry:\n")
	if len(s.Redises) > 0 {
		name := s.Redises[0].Name
		if namespace := s.Redises[0].Namespace; namespace != "" {
			name += " -n " + namespace
		}
		fmt.Fprintf(w, "  %s status %s\n", redstart, name)
		fmt.Fprintf(w, "  %s cli %s -- SET greeting hello\n", redstart, name)
		switch s.Redises[0].Mode {
		case string(v1alpha1.ModeCluster):
			fmt.Fprintf(w, "  %s failover %s --shard 1\n", redstart, name)
		case string(v1alpha1.ModeReplication), string(v1alpha1.ModeSentinel):
			fmt.Fprintf(w, "  %s failover %s\n", redstart, name)
		}
	}
	fmt.Fprintf(w, "  %s get pods -L redis-role\n", redstart)
	if background {
		fmt.Fprintf(w, "  %s down\n", redstart)
		return
	}
	fmt.Fprintf(w, "\nCtrl-C stops everything; the data stays.\n")
}
