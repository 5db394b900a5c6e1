package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/command-line.md and the golden files anew")

// reference is the page of all commands.
func reference() string {
	var b strings.Builder
	b.WriteString(`# The command line

<!-- Made by make generate from the commands. -->

`)
	root := newRootCommand(&app{program: "redstart"})
	fmt.Fprintf(&b, "%s\n\n", root.Long)
	b.WriteString("Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are single lines on standard error that begin with `redstart:`. " +
		"As a plugin of kubectl (`kubectl-redstart` on PATH), it is called `kubectl redstart`, and prefers kubectl's current cluster.\n\n")
	fmt.Fprintf(&b, "Flags of all commands:\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "help" {
			continue
		}
		page(&b, c, "##")
	}
	return b.String()
}

// page writes a command under a heading, and those below it under the next smaller ones.
func page(b *strings.Builder, c *cobra.Command, heading string) {
	fmt.Fprintf(b, "\n%s %s\n\n%s.\n\n```\n%s\n```\n", heading, c.CommandPath(), strings.TrimSuffix(c.Short, "."), c.UseLine())
	completion := c.Name() == "completion"
	if completion {
		b.WriteString("\nFor bash, fish, powershell or zsh; `redstart completion SHELL --help` says how to load it.\n")
	} else if c.Long != "" {
		fmt.Fprintf(b, "\n%s\n", c.Long)
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", unindent(c.Example))
	}
	c.InitDefaultHelpFlag()
	if f := c.NonInheritedFlags(); f.HasAvailableFlags() {
		fmt.Fprintf(b, "\n```\n%s```\n", f.FlagUsages())
	}
	for _, below := range c.Commands() {
		if !completion && below.IsAvailableCommand() {
			page(b, below, heading+"#")
		}
	}
}

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

func TestReferenceIsCurrent(t *testing.T) {
	golden(t, "../../docs/command-line.md", reference())
}

func TestHelp(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"redstart", "--help"}, nil, &out, &errOut); code != exitDone || errOut.Len() > 0 {
		t.Errorf("exit code %d, errors %q", code, errOut.String())
	}
	golden(t, "testdata/help.txt", out.String())
	for _, c := range newRootCommand(&app{}).Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no short text", c.Name())
		}
	}
}

// As a plugin it calls itself as the user did.
func TestPlugin(t *testing.T) {
	var out, errOut bytes.Buffer
	run(t.Context(), []string{"/usr/local/bin/kubectl-redstart", "up", "--help"}, nil, &out, &errOut)
	if !strings.Contains(out.String(), "kubectl redstart up [-f DIR]") {
		t.Errorf("the help of the plugin does not say kubectl redstart:\n%s", out.String())
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not current; run make generate\n%s", file, diff)
	}
}

// Every example of a help text is a command line that is accepted.
func TestExamplesAreAccepted(t *testing.T) {
	var commands func(c *cobra.Command) []*cobra.Command
	commands = func(c *cobra.Command) []*cobra.Command {
		all := []*cobra.Command{c}
		for _, below := range c.Commands() {
			all = append(all, commands(below)...)
		}
		return all
	}
	checked := 0
	for _, c := range commands(newRootCommand(&app{program: "redstart"})) {
		text := strings.ReplaceAll(c.Example, "\\\n", " ")
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, " #")
			for part := range strings.SplitSeq(line, "|") {
				words := strings.Fields(part)
				if len(words) == 0 || words[0] != "redstart" {
					continue
				}
				for i, w := range words {
					if strings.HasPrefix(w, ">") {
						words = words[:i]
						break
					}
				}
				root := newRootCommand(&app{program: "redstart"}) // flags keep what they were given
				found, rest, err := root.Find(words[1:])
				if err == nil {
					err = found.ParseFlags(rest)
				}
				if err == nil {
					err = found.ValidateArgs(found.Flags().Args())
				}
				if err != nil {
					t.Errorf("%s: %v", strings.Join(words, " "), err)
				}
				checked++
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d examples were found", checked)
	}
}
