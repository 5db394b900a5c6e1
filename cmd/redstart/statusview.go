package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// addStatusFlags gives a command that shows a status its flags; statusArgs checks them.
func addStatusFlags(cmd *cobra.Command, output *string, watch *bool) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "`FORMAT`: table, json or yaml")
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "keep showing it, as it changes")
}

func statusArgs(output *string, watch *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*output, "table", "json", "yaml"); err != nil {
			return err
		}
		if *watch && *output != "table" {
			return usagef("--watch draws on the terminal; leave --output out")
		}
		return cobra.MaximumNArgs(1)(cmd, args)
	}
}

// writeData prints v as output says: json, or else yaml.
func (a *app) writeData(v any, output string) error {
	if output == "json" {
		return writeJSON(a.out, v)
	}
	data, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(data)
	return err
}

// redraw shows a picture in the place of the last one on a terminal, and prints it to anything else when it changed.
func (a *app) redraw(picture []byte, last *[]byte) (int, error) {
	if isTerminal(a.out) {
		return fmt.Fprintf(a.out, "\x1b[H\x1b[2J%s", picture)
	}
	if bytes.Equal(picture, *last) {
		return 0, nil
	}
	*last = picture
	return fmt.Fprintf(a.out, "%s\n", picture)
}
