package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/internal/redis"
)

// version is set by the linker: git describe.
var version = ""

// versionInfo is what version -o json prints.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Engine is the server found on PATH; EngineError says why there is none.
	Engine      string `json:"engine,omitempty"`
	EnginePath  string `json:"enginePath,omitempty"`
	EngineError string `json:"engineError,omitempty"`
}

func newVersionCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of the server on PATH",
		Example: `  redstart version
  redstart version -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "table", "json"); err != nil {
				return err
			}
			return arguments(0, 0)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionInfo{Version: programVersion(), Commit: commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			path, err := redis.FindServer()
			if err == nil {
				var found redis.Version
				found, err = redis.Detect(cmd.Context(), path)
				v.Engine, v.EnginePath = found.String(), path
			}
			if err != nil {
				v.Engine, v.EngineError = "", err.Error()
			}
			if output == "json" {
				return writeJSON(a.out, v)
			}
			fmt.Fprintf(a.out, "redstart %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			engine := v.EngineError
			if v.Engine != "" {
				engine = v.Engine + " at " + v.EnginePath
			}
			_, err = fmt.Fprintf(a.out, "engine: %s\n", engine)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	return cmd
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// commit is that of the sources, as the Go tool noted it.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
