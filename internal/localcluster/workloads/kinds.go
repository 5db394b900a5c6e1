package workloads

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// served is one kind of object that the API server has.
type served struct {
	gvk        schema.GroupVersionKind
	namespaced bool
}

func (k served) isEvent() bool { return k.gvk.Kind == "Event" }

// object returns an empty object of the kind.
func (k served) object(s *runtime.Scheme) (client.Object, error) {
	o, err := s.New(k.gvk)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", k.gvk.Kind, err)
	}
	obj, ok := o.(client.Object)
	if !ok {
		return nil, fmt.Errorf("a %s is no object", k.gvk.Kind)
	}
	return obj, nil
}

// list returns an empty list of the kind.
func (k served) list(s *runtime.Scheme) (client.ObjectList, error) {
	o, err := s.New(k.gvk.GroupVersion().WithKind(k.gvk.Kind + "List"))
	if err != nil {
		return nil, fmt.Errorf("make a list of %s: %w", k.gvk.Kind, err)
	}
	l, ok := o.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("a %sList is no list", k.gvk.Kind)
	}
	return l, nil
}

// servedKinds asks the API server for the kinds that can be listed, watched and deleted, and that mgr knows.
func servedKinds(mgr ctrl.Manager) ([]served, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	lists, err := d.ServerPreferredResources()
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	var out []served
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("read the kinds of the API server: %w", err)
		}
		for _, r := range l.APIResources {
			k := served{gvk: gv.WithKind(r.Kind), namespaced: r.Namespaced}
			able := func(verb string) bool { return slices.Contains(r.Verbs, verb) }
			if able("list") && able("watch") && able("delete") && mgr.GetScheme().Recognizes(k.gvk) {
				out = append(out, k)
			}
		}
	}
	return out, nil
}
