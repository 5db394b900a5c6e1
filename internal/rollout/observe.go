package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// observe reads everything that a decision is based on. The workload is nil when there is none.
func (r *reconciler) observe(ctx context.Context, ro *v1alpha1.Rollout, kept *revisions) (workload, machine.Observation, error) {
	o := machine.Observation{
		Now: r.now(), Spec: &ro.Spec, Generation: ro.Generation, Deleting: !ro.DeletionTimestamp.IsZero(), Status: ro.Status,
	}
	o.CommandText, o.Command = commandOf(ro)
	var err error
	if o.StepsHash, err = stepsHash(&ro.Spec); err != nil {
		return nil, o, err
	}
	w, err := r.observeWorkload(ctx, ro, kept, &o.Workload)
	if err != nil {
		return nil, o, err
	}
	o.Status.ConfigHash = ro.Status.ConfigHash // was noted on the way
	o.Extra, err = r.observeExtra(ctx, ro)
	return w, o, err
}

func stepsHash(s *v1alpha1.RolloutSpec) (string, error) {
	_, use := s.Strategy.Use()
	if use == nil {
		return "", nil
	}
	b, err := json.Marshal(use.Steps)
	if err != nil {
		return "", fmt.Errorf("encode the steps: %w", err)
	}
	return shortHash(b), nil
}

func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:5])
}

func (r *reconciler) observeWorkload(ctx context.Context, ro *v1alpha1.Rollout, kept *revisions, out *machine.Workload) (workload, error) {
	ref := ro.Spec.WorkloadRef
	_, err := r.mapper.RESTMapping(appsv1.SchemeGroupVersion.WithKind(ref.Kind).GroupKind())
	if meta.IsNoMatchError(err) {
		out.NotServed = fmt.Sprintf("this cluster serves no %s", ref.Kind)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find out whether this cluster serves a %s: %w", ref.Kind, err)
	}
	object := objectOf(ref.Kind)
	err = r.live.Get(ctx, client.ObjectKey{Namespace: ro.Namespace, Name: ref.Name}, object)
	if apierrors.IsNotFound(err) || err == nil && object.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", ref.Kind, ref.Name, err)
	}
	w := workloadOf(object)
	if out.Taken, err = r.taken(ctx, ro, w); err != nil {
		return nil, err
	}
	if err := kept.load(ctx); err != nil {
		return nil, err
	}
	if out.Taken == "" {
		if err := r.followConfig(ctx, ro, w); err != nil {
			return nil, err
		}
	}
	out.Exists, out.Size = true, w.size()
	if out.Template, err = kept.keep(ctx, w.template()); err != nil {
		return nil, err
	}
	if c := w.template().Spec.Containers; len(c) > 0 {
		out.Image = c[0].Image
	}
	return w, w.observe(ctx, r.live, kept.revisionOf, &ro.Status, out)
}

// taken is why a workload is not ours to hold; empty if it is.
func (r *reconciler) taken(ctx context.Context, ro *v1alpha1.Rollout, w workload) (string, error) {
	object := w.object()
	switch holder := object.GetAnnotations()[v1alpha1.AnnotationHeldBy]; {
	case holder == ro.Name:
		return "", nil
	case holder != "":
		other := &v1alpha1.Rollout{}
		err := r.live.Get(ctx, client.ObjectKey{Namespace: ro.Namespace, Name: holder}, other)
		if err == nil {
			return fmt.Sprintf("the Rollout %s has %s %s already; delete one of them", holder, ro.Spec.WorkloadRef.Kind, object.GetName()), nil
		}
		return "", client.IgnoreNotFound(err) // it is gone, and left the workload held
	case w.heldByUser():
		return fmt.Sprintf("somebody paused the Deployment %s (spec.paused); let it go on, and the Rollout holds it by itself", object.GetName()), nil
	}
	return "", nil
}

// problemOf is what keeps a pod from becoming ready, of the first pod that says so.
func problemOf(pods []corev1.Pod) string {
	for i := range pods {
		p := &pods[i]
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
				return fmt.Sprintf("%s: %s", p.Name, joined(w.Reason, w.Message))
			}
			if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
				return fmt.Sprintf("%s: ended with exit code %d", p.Name, t.ExitCode)
			}
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				return fmt.Sprintf("%s: %s", p.Name, joined(c.Reason, c.Message))
			}
		}
	}
	return ""
}

func joined(reason, message string) string {
	const most = 200 // characters of somebody else's message
	if len(message) > most {
		message = message[:most] + "..."
	}
	if message == "" {
		return reason
	}
	return reason + ": " + message
}
