package apiserver

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/storage"
	restclient "k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"

	"redstart.dev/redstart/internal/localcluster/apiserver/store"
)

// kubernetesVersion is the version of the API that is served; GitVersion is what /version says.
const (
	kubernetesVersion = "1.37.0"
	GitVersion        = "v" + kubernetesVersion + "+redstart"
)

// kinds is what is served: a registry for every kind.
type kinds struct {
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	all    []*kind
	stores map[schema.GroupResource]*genericregistry.Store
	rest   map[schema.GroupVersion]map[string]rest.Storage
}

// install makes the registries of all kinds and mounts them.
func (s *Server) install(o Options) error {
	all := allKinds()
	scheme, err := newScheme(all)
	if err != nil {
		return err
	}
	s.kinds = &kinds{
		scheme: scheme, codecs: serializer.NewCodecFactory(scheme), all: all,
		stores: map[schema.GroupResource]*genericregistry.Store{},
		rest:   map[schema.GroupVersion]map[string]rest.Storage{},
	}
	for _, k := range all {
		if err := s.kinds.add(s.db, k); err != nil {
			return fmt.Errorf("serve %s: %w", k.plural, err)
		}
	}
	if err := s.addSubresources(o); err != nil {
		return err
	}
	if err := s.kinds.createNamespaces(); err != nil {
		return err
	}
	config := s.kinds.config(s.id, s.RESTConfig())
	s.generic, err = config.Complete(nil).New("redstart", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return fmt.Errorf("make the API server: %w", err)
	}
	return s.kinds.mount(s.generic)
}

func (ks *kinds) config(id *identity, loopback *restclient.Config) *genericapiserver.Config {
	c := genericapiserver.NewConfig(ks.codecs)
	c.ExternalAddress = loopback.Host[len("https://"):]
	c.LoopbackClientConfig = loopback
	c.EffectiveVersion = effectiveVersion{compatibility.NewEffectiveVersionFromString(kubernetesVersion, "1.34", "1.34")}
	c.EnableProfiling = false
	c.Authentication.Authenticator = id.authenticator()
	c.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(ks.refuseUnserved(api), c)
	}
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString("log", "portforward"))
	namer := openapinamer.NewDefinitionNamer(ks.scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.OpenAPIConfig.Info.Title = "Redstart"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.OpenAPIV3Config.Info.Title = "Redstart"
	c.OpenAPIConfig.GetDefinitionName = definitionName(namer)
	c.OpenAPIV3Config.GetDefinitionName = definitionName(namer)
	return c
}

// add makes the registry of one kind, and its /status and /scale.
func (ks *kinds) add(db *store.DB, k *kind) error {
	codec := ks.codecs.LegacyCodec(k.gvk.GroupVersion())
	prefix := "/" + k.resource().String()
	if k.resource() == newEvents {
		prefix = "/" + events.String() // one table; see eventView
	}
	data, err := ks.table(db, k, codec, prefix)
	if err != nil {
		return err
	}
	rules := newStrategy(k, ks.scheme)
	reg := &genericregistry.Store{
		NewFunc: k.new, NewListFunc: k.newList,
		DefaultQualifiedResource:  k.resource(),
		SingularQualifiedResource: schema.GroupResource{Group: k.gvk.Group, Resource: k.singular()},
		PredicateFunc:             k.predicate,
		CreateStrategy:            rules, UpdateStrategy: rules, DeleteStrategy: rules, ResetFieldsStrategy: rules,
		ReturnDeletedObject: k.graceful != nil,
		TableConvertor:      table{k},
		Storage:             genericregistry.DryRunnableStorage{Storage: data, Codec: codec},
		BeginCreate:         ks.requireNamespace(k),
	}
	err = reg.CompleteWithOptions(&generic.StoreOptions{
		RESTOptions: generic.RESTOptions{ResourcePrefix: prefix, EnableGarbageCollection: true, DeleteCollectionWorkers: 1},
		AttrFunc:    k.attributes,
	})
	if err != nil {
		return err
	}
	ks.stores[k.resource()] = reg
	ks.serve(k, "", registryREST{reg, k, rules})
	if k.copyStatus != nil {
		status := *reg
		status.UpdateStrategy = statusStrategy{rules}
		status.ResetFieldsStrategy = statusStrategy{rules}
		ks.serve(k, "/status", &statusREST{&status})
	}
	if k.scale != nil {
		ks.serve(k, "/scale", &scaleREST{reg, k})
	}
	return nil
}

// table is where the objects of a kind are. The events of events.k8s.io/v1 are those of core/v1.
func (ks *kinds) table(db *store.DB, k *kind, codec runtime.Codec, prefix string) (storage.Interface, error) {
	if k.resource() == newEvents {
		return eventView{ks.stores[events].Storage.Storage}, nil
	}
	return db.Table(store.TableOptions{
		Prefix: prefix, New: k.new, Encoder: codec, Decoder: ks.codecs.UniversalDeserializer(),
		MaxObjects: k.maxObjects, TTL: k.ttl,
	})
}

func (ks *kinds) serve(k *kind, subresource string, r rest.Storage) {
	gv := k.gvk.GroupVersion()
	if ks.rest[gv] == nil {
		ks.rest[gv] = map[string]rest.Storage{}
	}
	ks.rest[gv][k.plural+subresource] = r
}

// mount makes the paths of all groups, in the order of the table of kinds.
func (ks *kinds) mount(srv *genericapiserver.GenericAPIServer) error {
	params := runtime.NewParameterCodec(ks.scheme)
	done := map[schema.GroupVersion]bool{}
	for _, k := range ks.all {
		gv := k.gvk.GroupVersion()
		if done[gv] {
			continue
		}
		done[gv] = true
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, ks.scheme, params, ks.codecs)
		info.PrioritizedVersions = []schema.GroupVersion{gv}
		info.VersionedResourcesStorageMap = map[string]map[string]rest.Storage{gv.Version: ks.rest[gv]}
		var err error
		if gv.Group == "" {
			err = srv.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info)
		} else {
			err = srv.InstallAPIGroup(&info)
		}
		if err != nil {
			return fmt.Errorf("serve %s: %w", gv, err)
		}
	}
	return nil
}

// requireNamespace refuses to create an object in a namespace that is not there or is being deleted.
func (ks *kinds) requireNamespace(k *kind) genericregistry.BeginCreateFunc {
	if k.clusterScoped {
		return nil
	}
	return func(ctx context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		m := obj.(metav1.Object)
		if err := ks.namespaceOpen(ctx, m.GetNamespace(), k.resource(), m.GetName()); err != nil {
			return nil, err
		}
		return func(context.Context, bool) {}, nil
	}
}

func (ks *kinds) namespaceOpen(ctx context.Context, namespace string, what schema.GroupResource, name string) error {
	ns, err := ks.stores[namespaces].Get(ctx, namespace, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(namespaces, namespace) // not of what is being created
	}
	if err != nil {
		return err
	}
	if ns.(metav1.Object).GetDeletionTimestamp() != nil {
		return apierrors.NewForbidden(what, name, fmt.Errorf("namespace %s is being deleted", namespace))
	}
	return nil
}

func eachItem(list runtime.Object, fn func(runtime.Object) error) error {
	return meta.EachListItem(list, fn)
}

// effectiveVersion tells clients a version that they can parse: the libraries have one only in builds of Kubernetes itself, and
// without it kubectl version fails.
type effectiveVersion struct{ compatibility.EffectiveVersion }

func (v effectiveVersion) Info() *version.Info {
	info := v.EffectiveVersion.Info()
	info.GitVersion = GitVersion
	return info
}
