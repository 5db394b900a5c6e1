package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/importer"
	"redstart.dev/redstart/internal/manifest"
)

// importFlags are what every importer may look at.
type importFlags struct {
	from, name, output string
}

// importers turn a file of somebody else's into objects, and report line by line, by the names that --from takes.
func (a *app) importers() map[string]func(file string, data []byte, o importFlags) ([]client.Object, error) {
	all := map[string]func(string, []byte, importFlags) ([]client.Object, error){}
	for _, chart := range importer.Sources() {
		all[chart] = a.importValues
	}
	all[importer.KruiseRollout] = a.importRollouts
	return all
}

func newImportCommand(a *app) *cobra.Command {
	var o importFlags
	importers := a.importers()
	var known []string
	for from := range importers {
		known = append(known, from)
	}
	slices.Sort(known)
	cmd := &cobra.Command{
		Use:   "import FILE --from SOURCE",
		Short: "Turn the values of another chart into a Redis, or Kruise's Rollouts into ours",
		Long: `Prints the Redis that a values file of another chart stands for, or the Rollouts of a file of manifests, and on standard
error, for every single value, where it went or why it was dropped. What this version does not serve is dropped too, and said. What
the values leave to their chart comes along where it matters, such as the size of volumes. It speaks to no cluster.

A password in the values goes into a Secret, which is printed beside the Redis.

Sources: ` + strings.Join(known, ", ") + `. redis-ha is stable/redis-ha, in its old form and its new one;
kruise-rollout is kind Rollout of rollouts.kruise.io, v1beta1 and v1alpha1.`,
		Example: `  redstart import values.yaml --from bitnami-redis >redis.yaml
  helm get values my-redis -o yaml | redstart import - --from redis-ha --name cache
  redstart import rollout.yaml --from kruise-rollout`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(o.output, "yaml", "json"); err != nil {
				return err
			}
			switch {
			case len(args) != 1:
				return usagef("which file? name one file of values or manifests, or - for standard input")
			case importers[o.from] == nil:
				return usagef("--from %q is not known; expected one of %s", o.from, strings.Join(known, ", "))
			case o.name != "" && len(validation.IsDNS1035Label(o.name)) > 0:
				return usagef("--name %q is no name; use lower case letters, digits and '-', beginning with a letter", o.name)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			all, err := importers[o.from](args[0], data, o)
			if err != nil {
				return err
			}
			return writeObjects(a.out, o.output, all)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "`SOURCE` that the file is of")
	f.StringVar(&o.name, "name", "", "`NAME` of the result (default: redis, or the name that is in the file)")
	f.StringVarP(&o.output, "output", "o", "yaml", "`FORMAT`: yaml or json")
	return cmd
}

// readFile reads one file that somebody gave, or standard input for "-", of a bounded size.
func (a *app) readFile(path string) ([]byte, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(filepath.Clean(path))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, manifest.MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > manifest.MaxFileSize {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, manifest.MaxFileSize)
	}
	return data, nil
}

// importValues imports the values of a chart.
func (a *app) importValues(file string, data []byte, o importFlags) ([]client.Object, error) {
	values := map[string]any{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("%s: not the values of a chart: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	r, err := importer.Import(values, o.from, cmp.Or(o.name, "redis"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a.report(r.Lines)
	all := []client.Object{r.Redis}
	if r.Secret != nil {
		all = append(all, r.Secret)
	}
	return all, nil
}

// importRollouts imports the Rollouts of a file of manifests. Nothing is imported when one of them cannot be.
func (a *app) importRollouts(file string, data []byte, o importFlags) ([]client.Object, error) {
	var all []client.Object
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 1; ; n++ {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		object := map[string]any{}
		if err == nil {
			err = yaml.Unmarshal(text, &object)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: not YAML: %s", file, n, strings.ReplaceAll(err.Error(), "\n", " "))
		}
		if len(object) == 0 {
			continue
		}
		at, items := fmt.Sprintf("document %d", n), []any{object}
		list, isList := object["items"].([]any)
		if isList = isList && object["kind"] == "List"; isList {
			items = list
		}
		for i, item := range items {
			if isList {
				at = fmt.Sprintf("document %d, item %d", n, i+1)
			}
			one, _ := item.(map[string]any)
			r, lines, err := importer.ImportRollout(one, o.name)
			if lines != nil {
				a.report(lines)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, at, err)
			}
			all = append(all, r)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%s: no Rollout found", file)
	case len(all) > 1 && o.name != "":
		return nil, usagef("--name: %s has %d Rollouts; leave it out", file, len(all))
	}
	return all, nil
}

// report tells on standard error what became of every value.
func (a *app) report(lines []importer.Line) {
	mapped := 0
	for _, l := range lines {
		word, rest := "dropped", ""
		if l.Mapped() {
			mapped++
			word, rest = "mapped", " -> "+strings.Join(l.To, ", ")
		}
		if l.Why != "" {
			rest += " (" + l.Why + ")"
		}
		fmt.Fprintf(a.errOut, "%-8s %s: %s%s\n", word, l.Path, l.Value, rest)
	}
	fmt.Fprintf(a.errOut, "%d values mapped, %d dropped\n", mapped, len(lines)-mapped)
}
