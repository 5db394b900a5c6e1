package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newCopyAgentCommand is what the init container of every pod runs: images without a shell have no cp.
func newCopyAgentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "copy-agent FILE",
		Short:  "Copy this program to FILE",
		Hidden: true,
		Args:   arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			return copyAgent(self, args[0])
		},
	}
}

// copyAgent copies a program so that the copy is either whole or absent.
func copyAgent(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open this program: %w", err)
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), ".copy-")
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(dst.Name())
		}
	}()
	_, err = io.Copy(dst, src)
	if e := dst.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(dst.Name(), 0o755) //nolint:gosec // it is run by another user than the one who copies it
	}
	if err == nil {
		err = os.Rename(dst.Name(), to)
	}
	if err != nil {
		return fmt.Errorf("copy this program to %s: %w", to, err)
	}
	return nil
}
