package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// allKinds is every kind that is served. To serve another one, add its row to one of these tables, its package to
// newScheme and, for the field documentation, to hack/generate.sh.
func allKinds() []*kind {
	var all []*kind
	for _, rows := range [][]erasable{coreKinds(), appsKinds(), batchKinds(), gatewayKinds(), otherKinds(), rolloutKinds()} {
		for _, r := range rows {
			all = append(all, r.erase())
		}
	}
	return all
}

var (
	namespaces = schema.GroupResource{Resource: "namespaces"}
	pods       = schema.GroupResource{Resource: "pods"}
	services   = schema.GroupResource{Resource: "services"}
	events     = schema.GroupResource{Resource: "events"}
	newEvents  = schema.GroupResource{Group: eventsv1.GroupName, Resource: "events"}
)

// givenNamespaces are those that everybody takes for granted. They cannot be deleted.
var givenNamespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem}

// createNamespaces makes them.
func (ks *kinds) createNamespaces() error {
	for _, name := range givenNamespaces {
		ctx := genericapirequest.WithNamespace(context.Background(), "")
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := ks.stores[namespaces].Create(ctx, ns, nil, &metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the namespace %s: %w", name, err)
		}
	}
	return nil
}
