package main

import (
	"os"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/internal/process"
)

// hiddenCommands are run by pods and by this program itself, not by people.
func hiddenCommands() []*cobra.Command {
	commands := []*cobra.Command{newAgentCommand(), newGuestbookCommand(), newCopyAgentCommand(), newOperatorCommand(), newReaperCommand()}
	for _, c := range commands {
		c.Hidden = true
	}
	return commands
}

func newReaperCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reaper",
		Short: "Kill the pods of a redstart up that died",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			process.ReaperMain(os.Stdin)
			return nil
		},
	}
}
