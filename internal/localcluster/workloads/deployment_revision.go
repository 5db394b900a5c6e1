package workloads

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Annotations that kubectl reads, and those by which a Deployment remembers what its sets were scaled for.
const (
	annotationRevision = "deployment.kubernetes.io/revision"
	annotationHistory  = "deployment.kubernetes.io/revision-history"
	annotationDesired  = "deployment.kubernetes.io/desired-replicas"
	annotationMax      = "deployment.kubernetes.io/max-replicas"
)

// notCopied are the annotations of a Deployment that are not for its ReplicaSets.
var notCopied = []string{
	corev1.LastAppliedConfigAnnotation, annotationRevision, annotationHistory, annotationDesired, annotationMax,
	appsv1.DeprecatedRollbackTo,
}

// hashOf is a short name for v, in letters that a label and a DNS name may have. Other than Kubernetes' it is computed
// from the JSON form; nobody compares the two.
func hashOf(v any, collisions *int32) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	h := fnv.New32a()
	h.Write(b)
	if collisions != nil {
		h.Write([]byte(strconv.Itoa(int(*collisions))))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}

// sameTemplate compares two templates without the label that tells ReplicaSets apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// newSet is the ReplicaSet of d's template, with no replicas yet.
func newSet(d *appsv1.Deployment, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	template := d.Spec.Template.DeepCopy()
	hash, err := hashOf(template, d.Status.CollisionCount)
	if err != nil {
		// A template that was decoded from JSON can be encoded again.
		panic(err)
	}
	label := func(m map[string]string) map[string]string {
		m = maps.Clone(m)
		if m == nil {
			m = map[string]string{}
		}
		m[appsv1.DefaultDeploymentUniqueLabelKey] = hash
		return m
	}
	template.Labels = label(template.Labels)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = label(selector.MatchLabels)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Namespace: d.Namespace, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*controllerRef(d, deploymentKind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(int32(0)), MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
	annotationsFor(d, rs, old)
	return rs
}

// annotationsFor gives rs the annotations of d and the next revision number. It tells whether anything changed.
func annotationsFor(d *appsv1.Deployment, rs *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) bool {
	before := maps.Clone(rs.Annotations)
	for k, v := range d.Annotations {
		if !slices.Contains(notCopied, k) {
			setAnnotation(rs, k, v)
		}
	}
	var last int64
	for _, o := range old {
		last = max(last, revisionOf(o))
	}
	if have := revisionOf(rs); have <= last {
		if have > 0 {
			history := append(strings.FieldsFunc(rs.Annotations[annotationHistory], func(c rune) bool { return c == ',' }), strconv.FormatInt(have, 10))
			setAnnotation(rs, annotationHistory, strings.Join(history[max(0, len(history)-100):], ","))
		}
		setAnnotation(rs, annotationRevision, strconv.FormatInt(last+1, 10))
	}
	return !maps.Equal(before, rs.Annotations)
}

// annotate writes the revision to the current set and to the Deployment, and follows a change of minReadySeconds.
func (r *deployments) annotate(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if annotationsFor(d, current, old) || current.Spec.MinReadySeconds != d.Spec.MinReadySeconds {
		current.Spec.MinReadySeconds = d.Spec.MinReadySeconds
		if err := r.Update(ctx, current); err != nil {
			return fmt.Errorf("annotate ReplicaSet %s: %w", current.Name, err)
		}
	}
	revision := current.Annotations[annotationRevision]
	if d.Annotations[annotationRevision] == revision {
		return nil
	}
	before := d.DeepCopy()
	setAnnotation(d, annotationRevision, revision)
	if err := r.Patch(ctx, d, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("annotate Deployment %s: %w", d.Name, err)
	}
	return nil
}

// beyondHistory is which of the old sets exceed limit, the oldest revisions.
func beyondHistory(old []*appsv1.ReplicaSet, limit int) []*appsv1.ReplicaSet {
	sorted := slices.Clone(old)
	slices.SortStableFunc(sorted, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	return sorted[:max(0, len(sorted)-limit)]
}

func revisionOf(rs *appsv1.ReplicaSet) int64 {
	return int64(number(rs.Annotations[annotationRevision]))
}

// number reads an annotation that only controllers write; 0 when it is absent or was spoilt.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func setAnnotation(o metav1.Object, k, v string) {
	m := o.GetAnnotations()
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	o.SetAnnotations(m)
}
