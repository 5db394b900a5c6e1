package manifest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"redstart.dev/redstart/api/v1alpha1"
)

// checkPasswords looks at the passwords of the Redises among valid documents, in the Secrets among them. The error, if any, is Problems.
func checkPasswords(docs []Document) error {
	type key struct{ namespace, name string }
	owners := map[key]*v1alpha1.Redis{}
	for _, d := range docs {
		redis := &v1alpha1.Redis{}
		if d.Object.GroupVersionKind() == v1alpha1.GroupVersion.WithKind("Redis") &&
			runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object.Object, redis) == nil && redis.AuthEnabled() {
			owners[key{redis.Namespace, redis.AuthSecretName()}] = redis
		}
	}
	var problems Problems
	for _, d := range docs {
		secret := &corev1.Secret{}
		owner := owners[key{d.Object.GetNamespace(), d.Object.GetName()}]
		if owner == nil || d.Object.GroupVersionKind() != corev1.SchemeGroupVersion.WithKind("Secret") ||
			runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object.Object, secret) != nil {
			continue
		}
		field, password := "data", secret.Data[v1alpha1.SecretKeyPassword]
		if text, ok := secret.StringData[v1alpha1.SecretKeyPassword]; ok {
			field, password = "stringData", []byte(text)
		}
		named := owner.Spec.Auth != nil && owner.Spec.Auth.SecretName != ""
		if err := v1alpha1.CheckPassword(password); err != nil && (named || len(password) > 0) {
			problems = append(problems, Problem{Document: d, Field: field + "." + v1alpha1.SecretKeyPassword, Message: fmt.Sprintf("the password of Redis %s %v", owner.Name, err)})
		}
	}
	return problems.Err()
}
