package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"

	"redstart.dev/redstart/internal/client"
)

// everyKind is what "get all" means.
const everyKind = "redises,statefulsets,deployments,services,pods"

// getFlags are those of get.
type getFlags struct {
	output        string
	labelColumns  []string
	selector      string
	watch         bool
	allNamespaces bool
	noHeaders     bool
}

func newGetCommand(a *app) *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "get KIND [NAME...]",
		Short: "Show objects of any kind",
		Example: `  redstart get redis
  redstart get pods -L redis-role
  redstart get deployment frontend -o yaml
  redstart get pods -l redis-role=replica -o name
  redstart get redis cache -o jsonpath='{.status.master}'
  redstart get all
  redstart get pods -w`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("what to get? name a kind, for example: redstart get pods")
			}
			named := len(args) > 1 || strings.Contains(args[0], "/")
			switch {
			case f.watch && len(args) > 2:
				return usagef("--watch follows one object or all of a kind, not %d names", len(args)-1)
			case f.watch && (args[0] == "all" || strings.Contains(args[0], ",")):
				return usagef("--watch follows one kind, not several")
			case named && f.selector != "":
				return usagef("a selector and a name exclude each other")
			case named && f.allNamespaces:
				return usagef("a name is of one namespace; choose it with --namespace instead of --all-namespaces")
			case len(args) > 1 && strings.Contains(strings.Join(args, ""), "/"):
				return usagef("name one KIND/NAME, or one KIND and its names")
			}
			if err := checkSelector(f.selector); err != nil {
				return err
			}
			if f.tables() {
				return nil
			}
			_, err := newDataPrinter(f.output)
			return err
		},
		ValidArgsFunction: a.completeKindAndName,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			kind, names := args[0], args[1:]
			if k, n, ok := strings.Cut(kind, "/"); ok {
				kind, names = k, append([]string{n}, names...)
			}
			if kind == "all" {
				kind = everyKind
			}
			kinds := strings.Split(kind, ",")
			if !f.tables() {
				return a.getObjects(cmd.Context(), c, kinds, names, f)
			}
			for i, k := range kinds {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				if err := a.getTables(cmd.Context(), c, k, names, f, len(kinds) > 1); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "table", "`FORMAT`: table, wide, json, yaml, name, jsonpath=TEMPLATE or go-template=TEMPLATE")
	fl.StringSliceVarP(&f.labelColumns, "label-columns", "L", nil, "`LABELS` to show as columns")
	fl.StringVarP(&f.selector, "selector", "l", "", "show only what has these `LABELS`, for example app=web,tier!=cache")
	fl.BoolVarP(&f.watch, "watch", "w", false, "then show every change, until interrupted")
	fl.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "in all namespaces")
	fl.BoolVar(&f.noHeaders, "no-headers", false, "leave the headers out")
	return cmd
}

// checkOutput refuses an unknown -o.
func checkOutput(got string, known ...string) error {
	for _, k := range known {
		if got == k {
			return nil
		}
	}
	return usagef("--output %q is not known; expected one of %s", got, strings.Join(known, ", "))
}

// tables tells whether the output is for people, with a table for each kind.
func (f getFlags) tables() bool { return f.output == "table" || f.output == "wide" }

func (f getFlags) query(m *meta.RESTMapping, names []string) client.Query {
	return client.Query{Mapping: m, Selector: f.selector, AllNamespaces: f.allNamespaces, Names: names}
}

func (a *app) getTables(ctx context.Context, c *client.Client, kind string, names []string, f getFlags, withKind bool) error {
	mapping, err := c.Kind(kind)
	if err != nil {
		return err
	}
	q, printer := f.query(mapping, names), newTablePrinter(f, mapping, withKind)
	tables, err := c.Tables(ctx, q)
	if err != nil {
		return err
	}
	rows := 0
	for _, t := range tables {
		rows += len(t.Rows)
		if err := printer.PrintObj(t, a.out); err != nil {
			return err
		}
	}
	if rows == 0 && !f.watch {
		fmt.Fprintf(a.errOut, "No %s found%s.\n", mapping.Resource.Resource, inNamespace(c, mapping, f.allNamespaces))
	}
	if f.watch {
		q.Since = tables[0].ResourceVersion
		return c.WatchTables(ctx, q, func(t *metav1.Table) error { return printer.PrintObj(t, a.out) })
	}
	return nil
}

// getObjects prints the objects of all kinds as one piece of data.
func (a *app) getObjects(ctx context.Context, c *client.Client, kinds, names []string, f getFlags) error {
	printer, err := newDataPrinter(f.output)
	if err != nil {
		return err
	}
	var all []unstructured.Unstructured
	var last client.Query
	for _, kind := range kinds {
		mapping, err := c.Kind(kind)
		if err != nil {
			return err
		}
		last = f.query(mapping, names)
		objects, since, err := c.Objects(ctx, last)
		if err != nil {
			return err
		}
		all, last.Since = append(all, objects...), since
	}
	if err := printObjects(a.out, printer, all, len(names) == 1, f.output); err != nil || !f.watch {
		return err
	}
	return c.WatchObjects(ctx, last, func(_ watch.EventType, u *unstructured.Unstructured) error { return printer.PrintObj(u, a.out) })
}

func inNamespace(c *client.Client, m *meta.RESTMapping, all bool) string {
	if all || m.Scope.Name() != meta.RESTScopeNameNamespace {
		return ""
	}
	return " in namespace " + c.Namespace
}

// newDataPrinter prints for programs, templates as kubectl's.
func newDataPrinter(output string) (printers.ResourcePrinter, error) {
	switch output {
	case "json":
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.JSONPrinter{}}, nil
	case "yaml":
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.YAMLPrinter{}}, nil
	case "name":
		return &printers.NamePrinter{}, nil
	}
	format, template, _ := strings.Cut(output, "=")
	switch {
	case format == "jsonpath" && template != "":
		p, err := printers.NewJSONPathPrinter(template)
		if err != nil {
			return nil, usagef("--output %s: %v", output, err)
		}
		p.AllowMissingKeys(true) // as kubectl does: a field that is not set prints nothing
		return p, nil
	case format == "go-template" && template != "":
		p, err := printers.NewGoTemplatePrinter([]byte(template))
		if err != nil {
			return nil, usagef("--output %s: %v", output, err)
		}
		p.AllowMissingKeys(true)
		return p, nil
	}
	return nil, checkOutput(output, "table", "wide", "json", "yaml", "name", "jsonpath=TEMPLATE", "go-template=TEMPLATE")
}

func newTablePrinter(f getFlags, m *meta.RESTMapping, withKind bool) printers.ResourcePrinter {
	columns := make([]string, 0, len(f.labelColumns))
	for _, l := range f.labelColumns {
		columns = append(columns, strings.TrimSpace(l))
	}
	p := printers.NewTablePrinter(printers.PrintOptions{
		Wide: f.output == "wide", NoHeaders: f.noHeaders, WithNamespace: f.allNamespaces && m.Scope.Name() == meta.RESTScopeNameNamespace,
		ColumnLabels: columns, Kind: m.GroupVersionKind.GroupKind(), WithKind: withKind,
	})
	return &aligned{ResourcePrinter: p}
}

// aligned flushes the columns of one table after another, which go to one writer: their columns stay where they are.
type aligned struct {
	printers.ResourcePrinter
	columns interface {
		io.Writer
		Flush() error
	}
}

func (p *aligned) PrintObj(obj runtime.Object, w io.Writer) error {
	if p.columns == nil {
		p.columns = printers.GetNewTabWriter(w)
	}
	if err := p.ResourcePrinter.PrintObj(obj, p.columns); err != nil {
		return err
	}
	return p.columns.Flush()
}

// printObjects prints one object by itself and several as a List, as kubectl does.
func printObjects(w io.Writer, p printers.ResourcePrinter, objects []unstructured.Unstructured, one bool, output string) error {
	if one && len(objects) == 1 {
		return p.PrintObj(&objects[0], w)
	}
	if output == "name" {
		for i := range objects {
			if err := p.PrintObj(&objects[i], w); err != nil {
				return err
			}
		}
		return nil
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}}, Items: objects}
	return p.PrintObj(list, w)
}
