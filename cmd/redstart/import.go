package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
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
		Use:   "import FILE --from CHART",
		Short: "Turn the values of another chart into a Redis",
		Long: `Prints the Redis that a values file of another chart stands for, and on standard error, for every single value, where it
went or why it was dropped. What this version does not serve is dropped too, and said. It speaks to no cluster.

A password in the values goes into a Secret, which is printed beside the Redis.

Charts: ` + strings.Join(known, ", ") + `. redis-ha is stable/redis-ha, in its old form and its new one.`,
		Example: `  redstart import values.yaml --from bitnami-redis >redis.yaml
  helm get values my-redis -o yaml | redstart import - --from redis-ha --name cache`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(o.output, "yaml", "json"); err != nil {
				return err
			}
			switch {
			case len(args) != 1:
				return usagef("which file? name one file of values, or - for standard input")
			case importers[o.from] == nil:
				return usagef("--from %q is not known; expected one of %s", o.from, strings.Join(known, ", "))
			case len(validation.IsDNS1035Label(o.name)) > 0:
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
	f.StringVar(&o.from, "from", "", "`CHART` that the values are of")
	f.StringVar(&o.name, "name", "redis", "`NAME` of the Redis")
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
	r, err := importer.Import(values, o.from, o.name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	mapped := 0
	for _, l := range r.Lines {
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
	fmt.Fprintf(a.errOut, "%d values mapped, %d dropped\n", mapped, len(r.Lines)-mapped)
	all := []client.Object{r.Redis}
	if r.Secret != nil {
		all = append(all, r.Secret)
	}
	return all, nil
}
