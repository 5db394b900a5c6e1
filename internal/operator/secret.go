package operator

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// givenSecretEvery is how often the Secret of a user is looked for, which the operator neither owns nor watches.
const givenSecretEvery = 30 * time.Second

// secretError says that a Secret that the user named is not as it must be.
type secretError struct{ reason, message string }

func (e secretError) Error() string { return e.message }

// checkPassword looks at the password in a Secret that the user named.
func checkPassword(s *corev1.Secret) error {
	password, ok := s.Data[v1alpha1.SecretKeyPassword]
	if !ok || len(password) == 0 {
		return secretError{v1alpha1.ReasonSecretMissing, fmt.Sprintf("Secret %s of spec.auth.secretName has no key %q; add it", s.Name, v1alpha1.SecretKeyPassword)}
	}
	if err := v1alpha1.CheckPassword(password); err != nil {
		return secretError{v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Secret %s, key %q: the password %v", s.Name, v1alpha1.SecretKeyPassword, err)}
	}
	return nil
}

// secret makes sure that the Secret of a Redis is there. What it holds already is never
// changed: it is written by create, and by update of the version that was read, so that a cache that lags behind
// cannot replace a password.
func (c *redisController) secret(ctx context.Context, r *v1alpha1.Redis) error {
	var s corev1.Secret
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	err := c.applier.client.Get(ctx, key, &s)
	if apierrors.IsNotFound(err) {
		err = c.applier.direct.Get(ctx, key, &s)
	}
	exists := !apierrors.IsNotFound(err)
	if err != nil && exists {
		return fmt.Errorf("read Secret %s: %w", r.Name, err)
	}
	if exists && metav1.GetControllerOf(&s) != nil {
		if err := checkOwner(r, "Secret", &s); err != nil {
			return err
		}
	}
	if !exists {
		s = corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: r.Namespace},
			Type:       corev1.SecretTypeOpaque,
		}
	}
	named := r.Spec.Auth != nil && r.Spec.Auth.SecretName == r.Name
	if r.AuthEnabled() && r.AuthSecretName() == r.Name && (named || len(s.Data[v1alpha1.SecretKeyPassword]) > 0) {
		if err := checkPassword(&s); err != nil {
			return err
		}
	}
	generated := map[string]bool{
		v1alpha1.SecretKeyAgentToken: true,
		v1alpha1.SecretKeyPassword:   r.AuthEnabled() && r.AuthSecretName() == r.Name,
	}
	changed := false
	for k, wanted := range generated {
		if !wanted || len(s.Data[k]) > 0 {
			continue
		}
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(randomText())
		changed = true
	}
	// The label brings the Secret into the cache, whoever made it. It is deleted with the Redis only if the operator made it.
	if s.Labels[v1alpha1.LabelName] != r.Name {
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		s.Labels[v1alpha1.LabelName] = r.Name
		changed = true
	}
	switch {
	case !exists:
		s.OwnerReferences = []metav1.OwnerReference{objects.OwnerReference(r)}
		err = c.applier.client.Create(ctx, &s)
	case changed:
		err = c.applier.client.Update(ctx, &s)
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", r.Name, err)
	}
	return nil
}

// givenSecret checks the Secret that the user named, if any. The error is a secretError when it is not as it must be.
func (c *redisController) givenSecret(ctx context.Context, r *v1alpha1.Redis, mem *memory) error {
	name := r.AuthSecretName()
	if !r.AuthEnabled() || name == r.Name {
		return nil
	}
	if mem.secretName == name && c.now().Sub(mem.secretSeen) < givenSecretEvery {
		return nil
	}
	var s corev1.Secret
	err := c.applier.direct.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &s)
	switch {
	case apierrors.IsNotFound(err):
		return secretError{v1alpha1.ReasonSecretMissing, fmt.Sprintf("Secret %s of spec.auth.secretName does not exist; create it with the key %q", name, v1alpha1.SecretKeyPassword)}
	case err != nil:
		return fmt.Errorf("read Secret %s: %w", name, err)
	}
	if err := checkPassword(&s); err != nil {
		return err
	}
	mem.secretName, mem.secretSeen = name, c.now()
	return nil
}

// randomText is 32 letters and digits, some 160 bits: it needs no quoting anywhere.
func randomText() string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, 32)
	rand.Read(b)
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return string(b)
}
