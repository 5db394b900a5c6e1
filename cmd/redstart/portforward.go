package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
)

func newPortForwardCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "port-forward TARGET [LOCAL:]REMOTE",
		Short: "Make a port of a pod reachable on 127.0.0.1",
		Long: `Forwards a port of 127.0.0.1 through the API server to a ready pod, until interrupted. TARGET is NAME or KIND/NAME
of a pod, a Redis (its master), a Service, a Deployment or a StatefulSet. LOCAL 0 takes any free port.`,
		Example: `  redstart port-forward redis/cache 6379
  redstart port-forward service/frontend 8080:80
  redstart port-forward cache-1 0:6379`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(2, 2)(cmd, args); err != nil {
				return err
			}
			_, _, err := parsePorts(args[1])
			return err
		},
		ValidArgsFunction: a.completeNames(client.Pods),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.connect()
			if err != nil {
				return err
			}
			local, remote, err := parsePorts(args[1])
			if err != nil {
				return err
			}
			pod, port, err := forwardTarget(ctx, c, args[0], remote)
			if err != nil {
				return err
			}
			f, err := c.Forward(ctx, pod.Namespace, pod.Name, local, port)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "Forwarding %s to port %d of pod %s; end with Ctrl-C\n", f.Address, port, pod.Name)
			select {
			case <-ctx.Done():
				f.Stop()
				return nil
			case <-f.Done:
				return fmt.Errorf("forwarding to pod %s ended: %w", pod.Name, f.Err())
			}
		},
	}
}

// parsePorts reads [LOCAL:]REMOTE.
func parsePorts(arg string) (local, remote int32, err error) {
	l, r, ok := strings.Cut(arg, ":")
	if !ok {
		r = l
	}
	lp, lerr := strconv.ParseUint(l, 10, 16)
	rp, rerr := strconv.ParseUint(r, 10, 16)
	if lerr != nil || rerr != nil || rp == 0 {
		return 0, 0, usagef("%q is not [LOCAL:]REMOTE; expected port numbers up to 65535, for example 8080:80", arg)
	}
	return int32(lp), int32(rp), nil
}

// forwardTarget chooses a ready pod, the master of a Redis, and translates a Service's port to the pod's.
func forwardTarget(ctx context.Context, c *client.Client, target string, port int32) (*corev1.Pod, int32, error) {
	_, name, err := splitTarget(target)
	if err != nil {
		return nil, 0, err
	}
	kind, pods, err := targetPods(ctx, c, target)
	if err != nil {
		return nil, 0, err
	}
	for i := range pods {
		p := &pods[i]
		if len(pods) > 1 && !podReady(p) || kind == "Redis" && p.Labels[v1alpha1.LabelRole] != string(v1alpha1.RoleMaster) {
			continue
		}
		if kind == "Service" {
			port, err = servicePort(ctx, c, name, port, p)
		}
		return p, port, err
	}
	return nil, 0, fmt.Errorf("%s has no ready pod now", target)
}

func podReady(p *corev1.Pod) bool {
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// servicePort is the pod's port behind a Service's port.
func servicePort(ctx context.Context, c *client.Client, service string, port int32, pod *corev1.Pod) (int32, error) {
	svc, err := c.Kube.CoreV1().Services(c.Namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return 0, c.Explain(err)
	}
	var known []string
	for _, p := range svc.Spec.Ports {
		known = append(known, strconv.Itoa(int(p.Port)))
		switch {
		case p.Port != port:
		case p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal != 0:
			return p.TargetPort.IntVal, nil
		case p.TargetPort.Type == intstr.Int:
			return port, nil
		default:
			for _, ct := range pod.Spec.Containers {
				for _, cp := range ct.Ports {
					if cp.Name == p.TargetPort.StrVal {
						return cp.ContainerPort, nil
					}
				}
			}
			return 0, fmt.Errorf("pod %s has no port named %q", pod.Name, p.TargetPort.StrVal)
		}
	}
	return 0, fmt.Errorf("Service %s has no port %d; its ports are %s", service, port, strings.Join(known, ", "))
}
