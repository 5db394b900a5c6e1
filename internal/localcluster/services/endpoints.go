package services

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// managedBy marks the slices that this controller owns.
const managedBy = "endpointslice-controller.k8s.io"

// settle is how long the change of a pod waits for others to be written with it. The proxy does not: those who wait for a Redis to
// change its master need the machine more than those who read about it.
const settle = 50 * time.Millisecond

// lookAgain is the pause before a second look after a conflicting write.
const lookAgain = 5 * time.Millisecond

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

// endpoints writes the EndpointSlices and Endpoints of Services with selectors, for people and programs to read.
type endpoints struct{ client.Client }

func (r *endpoints) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("endpoints").
		For(&corev1.Service{}).
		Owns(&discoveryv1.EndpointSlice{}).
		Watches(&corev1.Pod{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { r.enqueue(ctx, q, e.Object) },
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { r.enqueue(ctx, q, e.ObjectOld, e.ObjectNew) },
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.enqueue(ctx, q, e.Object) },
		}).
		Complete(r)
}

// enqueue asks for the Services that select one of the pods.
func (r *endpoints) enqueue(ctx context.Context, q queue, pods ...client.Object) {
	var l corev1.ServiceList
	if r.List(ctx, &l, client.InNamespace(pods[0].GetNamespace())) != nil {
		return // the cache is being stopped
	}
	for i := range l.Items {
		s := &l.Items[i]
		sel := labels.SelectorFromSet(s.Spec.Selector)
		if len(s.Spec.Selector) > 0 && slices.ContainsFunc(pods, func(p client.Object) bool { return sel.Matches(labels.Set(p.GetLabels())) }) {
			q.AddAfter(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)}, settle)
		}
	}
}

// Reconcile writes the endpoints of one Service.
func (r *endpoints) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	svc := &corev1.Service{}
	if err := r.Get(ctx, req.NamespacedName, svc); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if svc.DeletionTimestamp != nil || len(svc.Spec.Selector) == 0 {
		return ctrl.Result{}, nil
	}
	var l corev1.PodList
	if err := r.List(ctx, &l, client.InNamespace(svc.Namespace), client.MatchingLabels(svc.Spec.Selector)); err != nil {
		return ctrl.Result{}, fmt.Errorf("list pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(l.Items))
	for i := range l.Items {
		pods[i] = &l.Items[i]
	}
	groups := groupPods(svc, selected(svc, pods))
	err := r.writeSlices(ctx, svc, groups)
	if err == nil {
		err = r.writeEndpoints(ctx, svc, groups)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		// The cache is behind; the next event from it, or the retry, finds the truth.
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	return ctrl.Result{}, err
}

func (r *endpoints) writeSlices(ctx context.Context, svc *corev1.Service, groups []group) error {
	var have discoveryv1.EndpointSliceList
	if err := r.List(ctx, &have, client.InNamespace(svc.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedBy}); err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	want := map[string]*discoveryv1.EndpointSlice{}
	for _, g := range groups {
		s := sliceOf(svc, g)
		want[s.Name] = s
	}
	for i := range have.Items {
		old := &have.Items[i]
		s := want[old.Name]
		delete(want, old.Name)
		var err error
		switch {
		case s == nil:
			err = r.Delete(ctx, old)
		case equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) && equality.Semantic.DeepEqual(s.Ports, old.Ports):
		default:
			s.ResourceVersion = old.ResourceVersion
			err = r.Update(ctx, s)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("write EndpointSlice %s: %w", old.Name, err)
		}
	}
	for _, s := range want {
		if err := r.Create(ctx, s); err != nil {
			return fmt.Errorf("create EndpointSlice %s: %w", s.Name, err)
		}
	}
	return nil
}

func (r *endpoints) writeEndpoints(ctx context.Context, svc *corev1.Service, groups []group) error {
	//nolint:staticcheck // Endpoints is deprecated, and what `kubectl get endpoints` shows.
	want := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace, Labels: svc.Labels, OwnerReferences: ownedBy(svc)},
		Subsets:    subsetsOf(svc, groups),
	}
	//nolint:staticcheck // as above
	have := &corev1.Endpoints{}
	err := r.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Create(ctx, want)
	case err != nil || equality.Semantic.DeepEqual(have.Subsets, want.Subsets) && equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences):
	default:
		want.ResourceVersion = have.ResourceVersion
		err = r.Update(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("write Endpoints %s: %w", svc.Name, err)
	}
	return nil
}

// group is pods that have the same port numbers behind the ports of a Service.
type group struct {
	pods []*corev1.Pod
	// ports are the numbers, in the order of the Service's; 0 for a port that the pods do not have.
	ports []int32
}

// groupPods sorts pods by the port numbers that they have behind the ports of svc.
func groupPods(svc *corev1.Service, pods []*corev1.Pod) []group {
	var out []group
	for _, p := range pods {
		numbers := make([]int32, len(svc.Spec.Ports))
		for i := range svc.Spec.Ports {
			if b := backendsOf(svc, &svc.Spec.Ports[i], []*corev1.Pod{p}); len(b) == 1 {
				numbers[i] = b[0].port()
			}
		}
		i := slices.IndexFunc(out, func(g group) bool { return slices.Equal(g.ports, numbers) })
		if i < 0 {
			out = append(out, group{ports: numbers})
			i = len(out) - 1
		}
		out[i].pods = append(out[i].pods, p)
	}
	if len(out) == 0 {
		out = []group{{ports: make([]int32, len(svc.Spec.Ports))}}
	}
	return out
}

func ownedBy(svc *corev1.Service) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(svc, serviceKind)}
}

// sliceOf is the EndpointSlice of a group. Its name follows from its ports, so that it is found again.
func sliceOf(svc *corev1.Service, g group) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: svc.Name + "-" + suffix(svc, g), Namespace: svc.Namespace, OwnerReferences: ownedBy(svc),
			Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedBy},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		s.Labels[corev1.IsHeadlessService] = ""
	}
	for i, p := range svc.Spec.Ports {
		if g.ports[i] != 0 {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{
				Name: ptr.To(p.Name), Port: ptr.To(g.ports[i]), Protocol: ptr.To(cmp.Or(p.Protocol, corev1.ProtocolTCP)), AppProtocol: p.AppProtocol,
			})
		}
	}
	for _, p := range g.pods {
		terminating := p.DeletionTimestamp != nil
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP},
			Conditions: discoveryv1.EndpointConditions{
				Ready:       ptr.To(svc.Spec.PublishNotReadyAddresses || podReady(p) && !terminating),
				Serving:     ptr.To(svc.Spec.PublishNotReadyAddresses || podReady(p)),
				Terminating: ptr.To(terminating),
			},
			Hostname: hostnameOf(svc, p), NodeName: ptr.To(p.Spec.NodeName), TargetRef: targetOf(p),
		})
	}
	return s
}

// suffix tells the slices of one Service apart.
func suffix(svc *corev1.Service, g group) string {
	h := fnv.New32a()
	h.Write([]byte(svc.UID))
	for i := range g.ports {
		h.Write([]byte(strings.Join([]string{svc.Spec.Ports[i].Name, strconv.Itoa(int(g.ports[i]))}, "=") + ","))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 36))
}

func hostnameOf(svc *corev1.Service, p *corev1.Pod) *string {
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		return ptr.To(p.Spec.Hostname)
	}
	return nil
}

func targetOf(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// subsetsOf is the old form of the same: without pods that are terminating.
//
//nolint:staticcheck // Endpoints is deprecated, and what `kubectl get endpoints` shows.
func subsetsOf(svc *corev1.Service, groups []group) []corev1.EndpointSubset {
	var out []corev1.EndpointSubset
	for _, g := range groups {
		var s corev1.EndpointSubset
		for i, p := range svc.Spec.Ports {
			if g.ports[i] != 0 {
				s.Ports = append(s.Ports, corev1.EndpointPort{Name: p.Name, Port: g.ports[i], Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP), AppProtocol: p.AppProtocol})
			}
		}
		for _, p := range g.pods {
			a := corev1.EndpointAddress{IP: p.Status.PodIP, NodeName: ptr.To(p.Spec.NodeName), TargetRef: targetOf(p), Hostname: ptr.Deref(hostnameOf(svc, p), "")}
			switch {
			case svc.Spec.PublishNotReadyAddresses, podReady(p) && p.DeletionTimestamp == nil:
				s.Addresses = append(s.Addresses, a)
			case p.DeletionTimestamp == nil:
				s.NotReadyAddresses = append(s.NotReadyAddresses, a)
			}
		}
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out
}
