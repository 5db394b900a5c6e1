package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// tableAccept asks for the columns that the server chooses for a kind.
const tableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

// Query is what to get: the objects of a kind, or those with Names, that Selector matches.
type Query struct {
	Mapping       *meta.RESTMapping
	Names         []string
	Selector      string
	AllNamespaces bool
	// Since is the resourceVersion after which changes are watched; empty starts with everything that exists.
	Since string
}

// Tables gets the server's tables: one of all objects, or one for each name.
func (c *Client) Tables(ctx context.Context, q Query) ([]*metav1.Table, error) {
	rc, err := c.rest(q.Mapping.GroupVersionKind.GroupVersion())
	if err != nil {
		return nil, err
	}
	names := q.Names
	if len(names) == 0 {
		names = []string{""}
	}
	var tables []*metav1.Table
	for i, name := range names {
		req := c.request(rc, q).SetHeader("Accept", tableAccept)
		if name != "" {
			req = req.Name(name)
		}
		result := req.Do(ctx)
		if err := result.Error(); err != nil { // with what the server says of it, which Raw leaves out
			return nil, c.explain(err)
		}
		data, err := result.Raw()
		if err != nil {
			return nil, c.explain(err)
		}
		t := &metav1.Table{}
		if err := json.Unmarshal(data, t); err != nil {
			return nil, fmt.Errorf("table of %s: %w", q.Mapping.Resource.Resource, err)
		}
		if i > 0 {
			tables[0].Rows = append(tables[0].Rows, t.Rows...)
			continue
		}
		tables = append(tables, t)
	}
	for _, t := range tables {
		if err := decodeRows(t); err != nil {
			return nil, err
		}
	}
	return tables, nil
}

// WatchTables calls show with a table of one row for every change after q.Since, until ctx ends.
func (c *Client) WatchTables(ctx context.Context, q Query, show func(*metav1.Table) error) error {
	rc, err := c.rest(q.Mapping.GroupVersionKind.GroupVersion())
	if err != nil {
		return err
	}
	return c.watch(ctx, q, func() (io.ReadCloser, error) {
		req := c.request(rc, q).SetHeader("Accept", tableAccept).Param("watch", "true").Param("resourceVersion", q.Since)
		if only := onlyName(q); only != "" {
			req = req.Param("fieldSelector", only)
		}
		return req.Stream(ctx)
	}, func(raw []byte) error {
		t := &metav1.Table{}
		if err := json.Unmarshal(raw, t); err != nil {
			return fmt.Errorf("table of %s: %w", q.Mapping.Resource.Resource, err)
		}
		if err := decodeRows(t); err != nil {
			return err
		}
		return show(t)
	})
}

// watch reads the stream of a watch, event by event.
func (c *Client) watch(ctx context.Context, q Query, open func() (io.ReadCloser, error), each func([]byte) error) error {
	stream, err := open()
	if err != nil {
		return c.explain(err)
	}
	defer func() { _ = stream.Close() }()
	d := json.NewDecoder(stream)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		switch err := d.Decode(&event); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch of %s ended: %w", q.Mapping.Resource.Resource, err)
		case event.Type == string(watch.Error):
			return fmt.Errorf("watch of %s ended: %s", q.Mapping.Resource.Resource, event.Object)
		}
		if err := each(event.Object); err != nil {
			return err
		}
	}
}

// Objects gets the objects themselves, and the resourceVersion to watch them from.
func (c *Client) Objects(ctx context.Context, q Query) ([]unstructured.Unstructured, string, error) {
	r := c.scope(q)
	if len(q.Names) == 0 {
		list, err := r.List(ctx, metav1.ListOptions{LabelSelector: q.Selector})
		if err != nil {
			return nil, "", c.explain(err)
		}
		return list.Items, list.GetResourceVersion(), nil
	}
	var out []unstructured.Unstructured
	since := ""
	for _, name := range q.Names {
		u, err := r.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, "", c.explain(err)
		}
		out, since = append(out, *u), u.GetResourceVersion()
	}
	return out, since, nil
}

// WatchObjects calls show for every change after q.Since, until ctx ends.
func (c *Client) WatchObjects(ctx context.Context, q Query, show func(watch.EventType, *unstructured.Unstructured) error) error {
	w, err := c.scope(q).Watch(ctx, metav1.ListOptions{LabelSelector: q.Selector, FieldSelector: onlyName(q), ResourceVersion: q.Since})
	if err != nil {
		return c.explain(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		u, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return fmt.Errorf("watch of %s ended: %v", q.Mapping.Resource.Resource, event.Object)
		}
		if err := show(event.Type, u); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("watch of %s ended", q.Mapping.Resource.Resource)
	}
	return nil
}
