package services

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// retryPublish is when a port that was in use is tried again.
const retryPublish = 30 * time.Second

// publisher opens the ports of Services in the proxy, and tells on the Service where they are.
type publisher struct {
	client.Client
	proxy  *Proxy
	events record.EventRecorder
}

func (r *publisher) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("serviceproxy").For(&corev1.Service{}).Complete(r)
}

// Reconcile opens the ports of one Service.
func (r *publisher) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	svc := &corev1.Service{}
	if err := r.Get(ctx, req.NamespacedName, svc); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.proxy.remove(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	out, failed := r.proxy.open(svc.DeepCopy(), localPorts(svc))
	if failed != nil {
		r.events.Event(svc, corev1.EventTypeWarning, "PortInUse", failed.Error())
	}
	messages := make([]string, len(out.conflicts))
	for i, c := range out.conflicts {
		messages[i] = c.message()
	}
	if err := r.annotate(ctx, svc, out); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.writeStatus(ctx, svc, out, strings.Join(messages, "; ")); err != nil {
		return ctrl.Result{}, err
	}
	if len(out.conflicts) > 0 {
		return ctrl.Result{RequeueAfter: retryPublish}, failed
	}
	return ctrl.Result{}, failed
}

// localPorts reads which local ports the ports of svc had before.
func localPorts(svc *corev1.Service) map[int32]int32 {
	m := map[int32]int32{}
	// Only this package writes the annotation; what somebody else left there is replaced.
	_ = json.Unmarshal([]byte(svc.Annotations[v1alpha1.AnnotationPorts]), &m)
	return m
}

// annotate tells where svc is published, and its local ports.
func (r *publisher) annotate(ctx context.Context, svc *corev1.Service, out opened) error {
	before := svc.DeepCopy()
	want := map[string]string{AnnotationPublished: strings.Join(out.published, ","), v1alpha1.AnnotationPorts: ""}
	if len(out.local) > 0 {
		m := map[string]int32{}
		for port, local := range out.local {
			m[strconv.Itoa(int(port))] = local
		}
		b, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("annotate Service %s: %w", svc.Name, err)
		}
		want[v1alpha1.AnnotationPorts] = string(b)
	}
	for k, v := range want {
		if v == "" {
			delete(svc.Annotations, k)
			continue
		}
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, k, v)
	}
	if equality.Semantic.DeepEqual(before.Annotations, svc.Annotations) {
		return nil
	}
	if err := r.Patch(ctx, svc, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotate Service %s: %w", svc.Name, err)
	}
	return nil
}

// writeStatus gives a LoadBalancer its address, and tells what could not be published.
func (r *publisher) writeStatus(ctx context.Context, svc *corev1.Service, out opened, problem string) error {
	before := svc.DeepCopy()
	svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && len(out.published) > 0 {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: publishedIP}}
	}
	switch {
	case problem != "":
		changed := meta.SetStatusCondition(&svc.Status.Conditions, metav1.Condition{
			Type: ConditionPublished, Status: metav1.ConditionFalse, Reason: "PortInUse", Message: problem, ObservedGeneration: svc.Generation,
		})
		if changed {
			r.events.Event(svc, corev1.EventTypeWarning, "PortInUse", problem)
		}
	case len(out.published) > 0:
		meta.SetStatusCondition(&svc.Status.Conditions, metav1.Condition{
			Type: ConditionPublished, Status: metav1.ConditionTrue, Reason: "Published",
			Message: "Published at " + strings.Join(out.published, ", "), ObservedGeneration: svc.Generation,
		})
	default:
		meta.RemoveStatusCondition(&svc.Status.Conditions, ConditionPublished)
	}
	if equality.Semantic.DeepEqual(before.Status, svc.Status) {
		return nil
	}
	if err := r.Status().Patch(ctx, svc, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of Service %s: %w", svc.Name, err)
	}
	return nil
}
