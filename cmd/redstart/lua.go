package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/lua"
	"redstart.dev/redstart/internal/rollout/traffic"
)

func newLuaCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lua",
		Short: "Test and try traffic scripts",
		Long: `A traffic script is Lua that says what an object which routes traffic looks like at a step of a Rollout. Both
commands run scripts in the sandbox in which the operator runs them, and need no cluster.`,
		Example: `  redstart lua test
  redstart lua run gateway.networking.k8s.io/HTTPRoute/trafficRouting.lua --rollout rollout.yaml --object route.yaml --step 1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which command? expected test or run; see redstart lua --help")
			}
			return usagef("unknown command %q; expected test or run; see redstart lua --help", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLuaTestCommand(a), newLuaRunCommand(a))
	return cmd
}

func newLuaTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run test cases of traffic scripts",
		Long: `Runs test cases: files, or all YAML in directories named testdata below a directory; without PATH those of the
shipped scripts. A test case has rollout or trafficRouting, original, and expected, the object at each step. Its script
is trafficRouting.lua (for an Ingress CLASS.lua) in the directory above, else GROUP/KIND/trafficRouting.lua below PATH,
else the shipped one. Exits 1 if a step is not as expected.`,
		Example: `  # The shipped scripts
  redstart lua test

  # Your own: my-scripts/example.com/Route/trafficRouting.lua and my-scripts/example.com/Route/testdata/*.yaml
  redstart lua test my-scripts`,
		RunE: func(cmd *cobra.Command, args []string) error { return luaTest(cmd.Context(), a.out, args) },
	}
}

// luaTally counts what lua test ran.
type luaTally struct{ files, steps, failed int }

func luaTest(ctx context.Context, out io.Writer, paths []string) error {
	scripts := traffic.NewScripts(traffic.Shipped())
	var tally luaTally
	if len(paths) == 0 {
		cases, err := traffic.FindCases(traffic.Shipped(), ".")
		if err != nil {
			return fmt.Errorf("find the shipped test cases: %w", err)
		}
		for _, file := range cases {
			tally.run(ctx, out, scripts, traffic.Shipped(), file, file)
		}
	}
	for _, path := range paths {
		root, cases, err := luaCases(path)
		if err != nil {
			return err
		}
		for _, file := range cases {
			tally.run(ctx, out, scripts, os.DirFS(root), file, filepath.Join(root, filepath.FromSlash(file)))
		}
	}
	fmt.Fprintf(out, "%d steps in %d test cases, %d failed\n", tally.steps, tally.files, tally.failed)
	if tally.failed > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// luaCases finds the test cases of a path, relative to a root below which their scripts are, too.
func luaCases(path string) (root string, cases []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("%s: cannot be read: %w", path, cause(err))
	}
	if !info.IsDir() {
		dir := filepath.Dir(path)
		if name := filepath.Base(path); filepath.Base(absolute(dir)) != "testdata" {
			return dir, []string{name}, nil
		}
		return filepath.Join(dir, ".."), []string{"testdata/" + filepath.Base(path)}, nil
	}
	root, below := path, "."
	if filepath.Base(absolute(path)) == "testdata" {
		root, below = filepath.Join(path, ".."), "testdata"
	}
	cases, err = traffic.FindCases(os.DirFS(root), below)
	if err != nil {
		return "", nil, fmt.Errorf("%s: cannot be read: %w", path, cause(err))
	}
	if len(cases) == 0 {
		return "", nil, fmt.Errorf("%s: no test cases; expected YAML files in a directory named testdata, beside the script", path)
	}
	return root, cases, nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// cause is an error about a file without its name, which the message has already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// run runs one test case and prints how it went.
func (t *luaTally) run(ctx context.Context, out io.Writer, scripts *traffic.Scripts, files fs.FS, file, shown string) {
	t.files++
	run := func(c *traffic.TestCase, script *lua.Script) ([]traffic.Outcome, error) { return c.Run(ctx, script) }
	outcomes, script, err := scripts.RunCase(run, files, file)
	if err != nil {
		t.failed++
		fmt.Fprintf(out, "FAIL  %s: %v\n", shown, cause(err))
		return
	}
	t.steps += len(outcomes)
	failed := 0
	for _, o := range outcomes {
		if !o.Passed() {
			failed++
		}
	}
	t.failed += failed
	if failed == 0 {
		fmt.Fprintf(out, "ok    %s (%d steps)\n", shown, len(outcomes))
		return
	}
	fmt.Fprintf(out, "FAIL  %s: %d of %d steps, with %s\n", shown, failed, len(outcomes), script)
	for _, o := range outcomes {
		switch {
		case o.Err != nil:
			fmt.Fprintf(out, "      step %d: %v\n", o.Step, o.Err)
		case !o.Passed():
			fmt.Fprintf(out, "      step %d: - expected, + got\n%s", o.Step, indent(diffYAML(o.Want, o.Got)))
		}
	}
}

func indent(text string) string {
	return "        " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n        ") + "\n"
}

type luaRunFlags struct {
	rollout, object string
	step            int
	output          string
}

func newLuaRunCommand(a *app) *cobra.Command {
	var f luaRunFlags
	cmd := &cobra.Command{
		Use:   "run SCRIPT --rollout FILE --object FILE --step N",
		Short: "Show what a step does to an object",
		Long: `Runs a traffic script on an object as a step of a Rollout would, and prints the difference, or with -o yaml or json
what the script makes of the object. SCRIPT is a Lua file, or the path of a shipped script such as
gateway.networking.k8s.io/HTTPRoute/trafficRouting.lua. FILE may be - for standard input.`,
		Example: `  redstart lua run my.lua --rollout rollout.yaml --object route.yaml --step 1
  kubectl get httproute web -o yaml | \
    redstart lua run gateway.networking.k8s.io/HTTPRoute/trafficRouting.lua --rollout rollout.yaml --object - --step 2 -o yaml`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return luaRun(cmd.Context(), a, args[0], f) },
	}
	cmd.Flags().StringVar(&f.rollout, "rollout", "", "`FILE` of the Rollout, one of redstart.dev or rollouts.kruise.io, or of a TrafficRouting of the latter")
	cmd.Flags().StringVar(&f.object, "object", "", "`FILE` of the object before the Rollout")
	cmd.Flags().IntVar(&f.step, "step", 0, "number `N` of the step, from 1")
	cmd.Flags().StringVarP(&f.output, "output", "o", "diff", "diff, yaml or json")
	return cmd
}

func luaRun(ctx context.Context, a *app, name string, f luaRunFlags) error {
	switch {
	case f.rollout == "":
		return usagef("which Rollout? name its file with --rollout")
	case f.object == "":
		return usagef("which object? name its file with --object")
	case f.rollout == "-" && f.object == "-":
		return usagef("--rollout and --object cannot both be standard input")
	case f.step < 1:
		return usagef("which step? give --step N, N from 1")
	case f.output != "diff" && f.output != "yaml" && f.output != "json":
		return usagef("--output %q is not known; expected one of diff, yaml, json", f.output)
	}
	source, err := readScript(name)
	if err != nil {
		return err
	}
	rollout, err := readObject(a.in, f.rollout)
	if err != nil {
		return err
	}
	object, err := readObject(a.in, f.object)
	if err != nil {
		return err
	}
	plan, err := traffic.PlanOf(rollout.Object)
	if err != nil {
		return fmt.Errorf("%s: %w", f.rollout, err)
	}
	if f.step > len(plan.Steps) {
		return fmt.Errorf("%s: there is no step %d; expected 1 to %d", f.rollout, f.step, len(plan.Steps))
	}
	script, err := lua.Compile(name, source)
	if err != nil {
		return err
	}
	namespace := "default"
	for _, n := range []string{plan.Namespace, object.GetNamespace()} {
		if n != "" {
			namespace = n
		}
	}
	before := traffic.Fields(object)
	after, err := traffic.Preview(ctx, script, object, namespace, plan.Steps[f.step-1], plan.Services)
	if err != nil {
		return err
	}
	if f.output == "diff" {
		fmt.Fprint(a.out, diffYAML(before, after))
		return nil
	}
	return printObject(a.out, traffic.Apply(object, after), f.output)
}

// readScript reads a script file, or a shipped script.
func readScript(name string) (string, error) {
	source, err := readBounded(name, lua.SourceSize+1)
	if errors.Is(err, fs.ErrNotExist) {
		if shipped, err := fs.ReadFile(traffic.Shipped(), filepath.ToSlash(name)); err == nil {
			return string(shipped), nil
		}
		return "", fmt.Errorf("%s: no such file, and no shipped script; expected a path such as gateway.networking.k8s.io/HTTPRoute/trafficRouting.lua", name)
	}
	if err != nil {
		return "", fmt.Errorf("%s: cannot be read: %w", name, cause(err))
	}
	return string(source), nil
}

// manifestSize bounds a file that is read, in bytes.
const manifestSize = 4 << 20

func readBounded(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

func readObject(in io.Reader, name string) (*unstructured.Unstructured, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(in, manifestSize))
	} else {
		text, err = readBounded(name, manifestSize)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be read: %w", name, cause(err))
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not valid YAML: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(asJSON); err != nil {
		return nil, fmt.Errorf("%s: expected one object with apiVersion and kind", name)
	}
	return object, nil
}

func printObject(out io.Writer, object *unstructured.Unstructured, format string) error {
	text, err := object.MarshalJSON()
	if err == nil && format == "yaml" {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return fmt.Errorf("print the object: %w", err)
	}
	fmt.Fprint(out, string(text))
	return nil
}
