package rollout

import (
	"context"
	"fmt"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// deployment is held by spec.paused. A batch is moved by letting the Deployment's own rolling update go a part of the way:
// minReadySeconds so long that no new pod ever counts as available stops it when maxSurge and maxUnavailable are used up,
// and these are computed so that exactly the wanted number of pods is new then.
type deployment struct {
	d *appsv1.Deployment
	// last and next are the sizes that are wanted of the sets of other templates, and of that of its template.
	last, next machine.Pods
	// counted tells that the Deployment may count pods of its template as available: those that a batch did not make.
	counted bool
}

// never is a time in seconds that does not pass. progressDeadlineSeconds must be longer.
const never = math.MaxInt32 - 1

func (w *deployment) object() client.Object             { return w.d }
func (w *deployment) template() *corev1.PodTemplateSpec { return &w.d.Spec.Template }
func (w *deployment) selector() *metav1.LabelSelector   { return w.d.Spec.Selector }
func (w *deployment) size() int32                       { return ptr.Deref(w.d.Spec.Replicas, 1) }
func (w *deployment) heldByUser() bool                  { return w.d.Spec.Paused }

func (w *deployment) observe(ctx context.Context, live client.Reader, revisionOf func(*corev1.PodTemplateSpec) (string, error), st *v1alpha1.RolloutStatus, out *machine.Workload) error {
	d := w.d
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return fmt.Errorf("Deployment %s: spec.selector: %w", d.Name, err)
	}
	var sets appsv1.ReplicaSetList
	if err := live.List(ctx, &sets, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list the ReplicaSets of Deployment %s: %w", d.Name, err)
	}
	out.Settled = d.Status.ObservedGeneration >= d.Generation
	out.Held = d.Spec.Paused && d.Annotations[v1alpha1.AnnotationHeldBy] != ""
	hashes := map[string]string{}
	counts := map[string]machine.Pods{}
	for i := range sets.Items {
		rs := &sets.Items[i]
		if !metav1.IsControlledBy(rs, d) {
			continue
		}
		revision, err := revisionOf(&rs.Spec.Template)
		if err != nil {
			return err
		}
		want := ptr.Deref(rs.Spec.Replicas, 1)
		n := counts[revision]
		n.Pods += max(rs.Status.Replicas, want)
		n.Ready += min(rs.Status.ReadyReplicas, want)
		counts[revision] = n
		out.Total += max(rs.Status.Replicas, want)
		if want > 0 || revision == out.Template {
			hashes[revision] = rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
		if revision == out.Template {
			w.next.Pods, w.next.Ready = w.next.Pods+want, w.next.Ready+min(rs.Status.ReadyReplicas, want)
			w.counted = w.counted || want > 0 && (rs.Spec.MinReadySeconds != never || rs.Status.AvailableReplicas > 0)
		} else {
			w.last.Pods, w.last.Ready = w.last.Pods+want, w.last.Ready+min(rs.Status.ReadyReplicas, want)
		}
	}
	out.Stable, out.Updated, out.Canary = counts[st.StableRevision], counts[out.Template], counts[st.CanaryRevision]
	out.UpdatedHash = hashes[out.Template]
	for revision, n := range counts {
		if n.Pods == out.Total && hashes[revision] != "" && (out.Total > 0 || revision == out.Template) {
			out.Serving, out.ServingHash = revision, hashes[revision]
		}
	}
	if out.Updated.Ready < out.Updated.Pods {
		pods, err := podsOf(ctx, live, d.Namespace, d.Spec.Selector)
		if err != nil {
			return err
		}
		out.Problem = problemOf(pods)
	}
	return nil
}

// heldDeployment is what a batch changes of a Deployment.
type heldDeployment struct {
	Strategy                appsv1.DeploymentStrategy `json:"strategy"`
	MinReadySeconds         int32                     `json:"minReadySeconds"`
	ProgressDeadlineSeconds *int32                    `json:"progressDeadlineSeconds"`
}

func (w *deployment) set(d machine.Desired, seen machine.Workload) error {
	s := &w.d.Spec
	if d.Hold == machine.Batch {
		if err := keepFields(w.d, heldDeployment{s.Strategy, s.MinReadySeconds, s.ProgressDeadlineSeconds}); err != nil {
			return err
		}
		return w.setBatch(d.Batch, seen)
	}
	var was heldDeployment
	kept, err := takeFields(w.d, &was)
	if err != nil {
		return err
	}
	if kept {
		s.Strategy, s.MinReadySeconds, s.ProgressDeadlineSeconds = was.Strategy, was.MinReadySeconds, was.ProgressDeadlineSeconds
	}
	s.Paused = d.Hold == machine.Held
	return nil
}

// setBatch lets n pods become new. Once they are, the Deployment is paused, so that a still newer template is held too; and it stays
// paused until none of the pods of its template counts as available, or it would take old ones for superfluous too early.
func (w *deployment) setBatch(n int32, seen machine.Workload) error {
	s := &w.d.Spec
	var was heldDeployment
	if kept, err := takeFields(w.d, &was); err != nil || !kept {
		return err
	}
	if err := keepFields(w.d, was); err != nil {
		return err
	}
	size := w.size()
	n = max(min(n, size), min(w.next.Pods, size))
	s.MinReadySeconds, s.ProgressDeadlineSeconds = never, ptr.To(int32(math.MaxInt32))
	s.Paused = w.counted || w.next.Pods >= n && w.next.Ready >= n && w.last.Pods <= size-n && seen.Settled
	surge, unavailable := chunks(was.Strategy, size)
	surge, unavailable = batchBounds(size, n, w.next, w.last, surge, unavailable)
	s.Strategy = appsv1.DeploymentStrategy{
		Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: ptr.To(intstr.FromInt32(surge)), MaxUnavailable: ptr.To(intstr.FromInt32(unavailable)),
		},
	}
	return nil
}

// chunks are how many pods more, and fewer, than wanted the user allows.
func chunks(s appsv1.DeploymentStrategy, size int32) (surge, unavailable int32) {
	quarter := intstr.FromString("25%")
	most, least := &quarter, &quarter
	if ru := s.RollingUpdate; ru != nil {
		if ru.MaxSurge != nil {
			most = ru.MaxSurge
		}
		if ru.MaxUnavailable != nil {
			least = ru.MaxUnavailable
		}
	}
	up, err := intstr.GetScaledValueFromIntOrPercent(most, int(size), true)
	if err != nil {
		up = 1
	}
	down, err := intstr.GetScaledValueFromIntOrPercent(least, int(size), false)
	if err != nil {
		down = 0
	}
	if up == 0 && down == 0 {
		down = 1
	}
	return int32(up), int32(down)
}

// batchBounds are maxSurge and maxUnavailable with which a Deployment of size pods, of which no new one ever counts as
// available, comes to have target new pods and no more, with at most surge pods above its size or, without surge, at most
// unavailable below it at a time.
//
// The Deployment lets new pods grow until all are size + maxSurge, and takes old ones until those left that are available
// are size - maxUnavailable. So the pods to keep give maxUnavailable, and they and the new ones that are wanted next give
// maxSurge; ready new pods are what makes old ones superfluous.
func batchBounds(size, target int32, next, last machine.Pods, surge, unavailable int32) (maxSurge, maxUnavailable int32) {
	var grow, keep int32
	if surge > 0 {
		grow = max(next.Pods, min(target, next.Ready+surge))
		keep = size - next.Ready
	} else {
		grow = max(next.Pods, min(target, next.Ready+unavailable))
		keep = size - grow
	}
	keep = min(last.Pods, max(keep, size-target))
	maxSurge, maxUnavailable = max(0, grow+keep-size), min(size, max(0, size-keep))
	if maxSurge == 0 && maxUnavailable == 0 {
		maxUnavailable = min(1, target) // both zero are not allowed; this happens when there is nothing to do
	}
	if maxSurge == 0 && maxUnavailable == 0 {
		maxSurge = 1
	}
	return maxSurge, maxUnavailable
}

func (*deployment) surplus(context.Context, client.Reader, machine.Desired, machine.Workload) ([]corev1.Pod, error) {
	return nil, nil
}
