package workloads

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// finalizerClaim keeps a claim while a pod uses it. It is Kubernetes' own.
const finalizerClaim = "kubernetes.io/pvc-protection"

// claims binds every PersistentVolumeClaim to a directory, and removes the directory when the claim is gone.
//
// Data is removed only after somebody deleted the claim through the API, and a mark on disk says so: a directory whose
// claim is unknown (a lost store, say) is never touched. The mark outlives a crash between the two steps.
type claims struct {
	base
	dir string
}

func (r *claims) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("claim").
		For(&corev1.PersistentVolumeClaim{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []ctrl.Request {
			return claimsUsedBy(o.(*corev1.Pod))
		})).
		WatchesRawSource(source.Func(r.enqueueMarked)).
		Complete(r)
}

// claimsUsedBy lists the claims that a pod mounts.
func claimsUsedBy(p *corev1.Pod) []ctrl.Request {
	var out []ctrl.Request
	for i := range p.Spec.Volumes {
		if c := p.Spec.Volumes[i].PersistentVolumeClaim; c != nil {
			out = append(out, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: p.Namespace, Name: c.ClaimName}})
		}
	}
	return out
}

// claimStatus is the status of a claim that is bound to a directory: as large as was asked for, since a directory has
// no size of its own.
func claimStatus(c *corev1.PersistentVolumeClaim) corev1.PersistentVolumeClaimStatus {
	s := corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: c.Spec.AccessModes}
	if size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
		s.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	}
	return s
}

// Reconcile binds, protects or cleans up after one claim.
func (r *claims) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	c := &corev1.PersistentVolumeClaim{}
	if err := r.live.Get(ctx, req.NamespacedName, c); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read claim %s: %w", req, err)
	} else if err != nil {
		return ctrl.Result{}, r.clean(ctx, req.NamespacedName, "")
	}
	if c.DeletionTimestamp != nil {
		return settle(ctrl.Result{}, r.release(ctx, c))
	}
	if err := r.clean(ctx, req.NamespacedName, c.UID); err != nil {
		return ctrl.Result{}, err
	}
	return settle(ctrl.Result{}, r.bind(ctx, c))
}

func (r *claims) bind(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	dir, err := r.path(client.ObjectKeyFromObject(c))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.events.Eventf(c, corev1.EventTypeWarning, "ProvisioningFailed", "%v", err)
		return fmt.Errorf("make the directory of claim %s: %w", c.Name, err)
	}
	if !slices.Contains(c.Finalizers, finalizerClaim) || c.Spec.VolumeName == "" {
		c.Finalizers = append(slices.DeleteFunc(c.Finalizers, func(f string) bool { return f == finalizerClaim }), finalizerClaim)
		if c.Spec.VolumeName == "" {
			c.Spec.VolumeName = "pvc-" + string(c.UID)
		}
		if err := r.Update(ctx, c); err != nil {
			return fmt.Errorf("bind claim %s: %w", c.Name, err)
		}
	}
	if s := claimStatus(c); !equality.Semantic.DeepEqual(s, c.Status) {
		c.Status = s
		if err := r.Status().Update(ctx, c); err != nil {
			return fmt.Errorf("bind claim %s: %w", c.Name, err)
		}
		r.events.Eventf(c, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s in %s", c.Spec.VolumeName, dir)
	}
	return nil
}

// release marks the data of a claim that is being deleted for removal and lets the claim go, once no pod uses it.
func (r *claims) release(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	if !slices.Contains(c.Finalizers, finalizerClaim) {
		return nil
	}
	if used, err := r.used(ctx, client.ObjectKeyFromObject(c)); used || err != nil {
		return err
	}
	mark, err := r.mark(client.ObjectKeyFromObject(c))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(mark), 0o700); err != nil {
		return fmt.Errorf("mark the data of claim %s for removal: %w", c.Name, err)
	}
	if err := os.WriteFile(mark, []byte(c.UID), 0o600); err != nil {
		return fmt.Errorf("mark the data of claim %s for removal: %w", c.Name, err)
	}
	c.Finalizers = slices.DeleteFunc(c.Finalizers, func(f string) bool { return f == finalizerClaim })
	if err := r.Update(ctx, c); err != nil {
		return client.IgnoreNotFound(err)
	}
	return nil
}

// clean removes the data of a claim that was marked, unless the marked claim still exists (by its UID) or a pod uses
// the directory.
func (r *claims) clean(ctx context.Context, key types.NamespacedName, exists types.UID) error {
	mark, err := r.mark(key)
	if err != nil {
		return err
	}
	uid, err := os.ReadFile(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the mark of claim %s: %w", key, err)
	}
	if exists != "" && string(uid) == string(exists) {
		return nil
	}
	if exists == "" {
		// A pod that came in the meantime keeps the data until it ends; its end brings us back here.
		if used, err := r.used(ctx, key); used || err != nil {
			return err
		}
	}
	dir, err := r.path(key)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the data of claim %s: %w", key, err)
	}
	if err := os.Remove(mark); err != nil {
		return fmt.Errorf("remove the mark of claim %s: %w", key, err)
	}
	return nil
}

// used tells whether a pod that has not ended mounts the claim.
func (r *claims) used(ctx context.Context, key types.NamespacedName) (bool, error) {
	var pods corev1.PodList
	if err := r.live.List(ctx, &pods, client.InNamespace(key.Namespace)); err != nil {
		return false, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if !ended && slices.Contains(claimsUsedBy(p), ctrl.Request{NamespacedName: key}) {
			return true, nil
		}
	}
	return false, nil
}

// path is the directory of a claim, and mark the file beside it that says that it may be removed. No claim is
// named like a mark: names do not start with a dot.
func (r *claims) path(key types.NamespacedName) (string, error) {
	if !filepath.IsLocal(key.Namespace) || !filepath.IsLocal(key.Name) || filepath.Base(key.Name) != key.Name || key.Namespace == "" {
		return "", fmt.Errorf("claim %s: the name is no file name", key)
	}
	return filepath.Join(r.dir, key.Namespace, key.Name), nil
}

func (r *claims) mark(key types.NamespacedName) (string, error) {
	p, err := r.path(key)
	return filepath.Join(filepath.Dir(p), ".deleted-"+key.Name), err
}

// enqueueMarked asks for the claims that were marked for removal before a crash.
func (r *claims) enqueueMarked(_ context.Context, q workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "*", ".deleted-*"))
	if err != nil {
		return fmt.Errorf("look for data to remove: %w", err)
	}
	for _, f := range files {
		name := strings.TrimPrefix(filepath.Base(f), ".deleted-")
		q.Add(ctrl.Request{NamespacedName: types.NamespacedName{Namespace: filepath.Base(filepath.Dir(f)), Name: name}})
	}
	return nil
}
