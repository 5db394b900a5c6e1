package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
)

// splitTarget cuts KIND/NAME; a bare NAME has no kind.
func splitTarget(arg string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return "", arg, nil
	}
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return "", "", usagef("%q is not KIND/NAME; write, for example, redis/cache or deployment/frontend", arg)
	}
	return kind, name, nil
}

// redisName is the name in NAME or redis/NAME, where nothing but a Redis can be meant.
func redisName(arg string) (string, error) {
	kind, name, err := splitTarget(arg)
	if err != nil {
		return "", err
	}
	switch strings.ToLower(kind) {
	case "", "redis", "redises", "redis.redstart.dev", "redises.redstart.dev":
		return name, nil
	}
	return "", usagef("%q is no Redis; write the name of one, or redis/NAME", arg)
}

// checkSelector refuses what is not a selector of labels.
func checkSelector(text string) error {
	if _, err := labels.Parse(text); err != nil {
		return usagef("--selector %q is not one: %w; expected, for example, app=web,tier!=cache", text, err)
	}
	return nil
}

// targetPods finds the pods that KIND/NAME means, and the kind as the API names it: a pod itself, or the pods of a Redis, a
// workload or a Service. A bare NAME is a pod, else a Redis, else a Deployment, else a StatefulSet, else a Service.
func targetPods(ctx context.Context, c *client.Client, arg string) (found string, pods []corev1.Pod, err error) {
	kind, name, err := splitTarget(arg)
	if err != nil {
		return "", nil, err
	}
	kinds := []string{kind}
	if kind == "" {
		kinds = []string{"pod", "redis", "deployment", "statefulset", "service"}
	}
	for _, k := range kinds {
		mapping, err := c.Kind(k)
		if err != nil {
			if kind == "" && ctx.Err() == nil && isUnknownKind(err) {
				continue
			}
			return "", nil, err
		}
		found = mapping.GroupVersionKind.Kind
		selector, pod, err := podsOf(ctx, c, found, name)
		switch {
		case apierrors.IsNotFound(err) && kind == "":
			continue
		case err != nil:
			return "", nil, c.Explain(err)
		case pod != nil:
			return found, []corev1.Pod{*pod}, nil
		default:
			pods, err = listPods(ctx, c, selector.String())
			return found, pods, err
		}
	}
	return "", nil, fmt.Errorf("no pod, Redis, Deployment, StatefulSet or Service is named %q in namespace %s", name, c.Namespace)
}

func isUnknownKind(err error) bool { return strings.HasPrefix(err.Error(), "the cluster has no kind") }

// podsOf is the pod itself, or the selector of the pods of an object.
func podsOf(ctx context.Context, c *client.Client, kind, name string) (labels.Selector, *corev1.Pod, error) {
	get := metav1.GetOptions{}
	switch kind {
	case "Pod":
		pod, err := c.Kube.CoreV1().Pods(c.Namespace).Get(ctx, name, get)
		return nil, pod, err
	case "Redis":
		_, err := c.Redis(ctx, name)
		return labels.SelectorFromSet(labels.Set{v1alpha1.LabelName: name}), nil, err
	case "Service":
		svc, err := c.Kube.CoreV1().Services(c.Namespace).Get(ctx, name, get)
		if err != nil {
			return nil, nil, err
		}
		if len(svc.Spec.Selector) == 0 { // as a selector it would be that of all pods
			return nil, nil, fmt.Errorf("Service %s selects no pods; name a pod", name)
		}
		return labels.SelectorFromSet(svc.Spec.Selector), nil, nil
	case "Deployment":
		d, err := c.Kube.AppsV1().Deployments(c.Namespace).Get(ctx, name, get)
		if err != nil {
			return nil, nil, err
		}
		s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		return s, nil, err
	case "StatefulSet":
		d, err := c.Kube.AppsV1().StatefulSets(c.Namespace).Get(ctx, name, get)
		if err != nil {
			return nil, nil, err
		}
		s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		return s, nil, err
	case "Job":
		j, err := c.Kube.BatchV1().Jobs(c.Namespace).Get(ctx, name, get)
		if err != nil {
			return nil, nil, err
		}
		s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
		return s, nil, err
	default:
		return nil, nil, fmt.Errorf("%s %s has no pods; expected a pod, redis, deployment, statefulset, job or service", kind, name)
	}
}

func listPods(ctx context.Context, c *client.Client, selector string) ([]corev1.Pod, error) {
	list, err := c.Kube.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.Explain(err)
	}
	sort.Slice(list.Items, func(i, j int) bool { return list.Items[i].Name < list.Items[j].Name })
	return list.Items, nil
}

// redisMember finds a member of a Redis by name, or its master for an empty one.
func redisMember(ctx context.Context, c *client.Client, r *v1alpha1.Redis, member string) (*corev1.Pod, error) {
	pods, err := listPods(ctx, c, labels.Set{v1alpha1.LabelName: r.Name, v1alpha1.LabelComponent: v1alpha1.ComponentMember}.String())
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(pods))
	for i, p := range pods {
		if p.Name == member || member == "" && p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster) {
			return &pods[i], nil
		}
		names = append(names, p.Name)
	}
	if member == "" {
		return nil, fmt.Errorf("Redis %s has no master now (see redstart status %s)", r.Name, r.Name)
	}
	return nil, fmt.Errorf("Redis %s has no member %q; its members are %s", r.Name, member, strings.Join(names, ", "))
}
