//go:build unix

package process

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// The test binary plays the other processes: the reaper, and a parent that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			ReaperMain(os.Stdin)
			return
		case "parent":
			parentMain(os.Args[2], os.Args[3])
			return
		}
	}
	os.Exit(m.Run())
}

// parentMain starts trees whose members tell their process IDs on our standard output, and stays. With mode
// "reaper" it has a reaper; without, only the ledger file is written.
func parentMain(mode, ledger string) {
	args := []string{"reaper"}
	executable := os.Args[0]
	if mode != "reaper" {
		executable, args = "sleep", []string{"0"}
	}
	r, err := StartReaper(ledger, executable, args...)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for range 2 {
		_, err := Start(Command{Path: "sh", Args: []string{"-c", treeScript}, Env: os.Environ(), Stdout: os.Stdout, Reaper: r})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	<-time.After(time.Minute)
}

// treeScript is a tree of three processes, deaf to polite signals, that tell their IDs.
const treeScript = `trap "" TERM HUP INT; echo $$; (sh -c 'trap "" TERM HUP INT; echo $$; sleep 61 & echo $!; wait') & wait`
