package client

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// rest is a raw client of a group and version, for representations that typed clients do not ask for.
func (c *Client) rest(gv schema.GroupVersion) (*rest.RESTClient, error) {
	config := rest.CopyConfig(c.Config)
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	rc, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", gv, err)
	}
	return rc, nil
}

// request starts a GET of what a query means.
func (c *Client) request(rc *rest.RESTClient, q Query) *rest.Request {
	req := rc.Get().Resource(q.Mapping.Resource.Resource)
	if q.Mapping.Scope.Name() == meta.RESTScopeNameNamespace && !q.AllNamespaces {
		req = req.Namespace(c.Namespace)
	}
	if q.Selector != "" {
		req = req.Param("labelSelector", q.Selector)
	}
	return req.Param("includeObject", string(metav1.IncludeObject))
}

// onlyName is the field selector of a query for one name.
func onlyName(q Query) string {
	if len(q.Names) != 1 {
		return ""
	}
	return fields.OneTermEqualSelector("metadata.name", q.Names[0]).String()
}

// scope addresses the objects of a query.
func (c *Client) scope(q Query) dynamic.ResourceInterface {
	if q.AllNamespaces {
		return c.Dynamic.Resource(q.Mapping.Resource)
	}
	return c.Resource(q.Mapping, "")
}

// decodeRows decodes the object of each row, which the printers take labels and namespaces from.
func decodeRows(t *metav1.Table) error {
	for i := range t.Rows {
		row := &t.Rows[i]
		if row.Object.Raw == nil || row.Object.Object != nil {
			continue
		}
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(row.Object.Raw, &u.Object); err != nil {
			return fmt.Errorf("row of a table: %w", err)
		}
		row.Object.Object = u
	}
	return nil
}
