//go:build unix

package agent

import "syscall"

// terminate asks a server to save and end.
const terminate = syscall.SIGTERM
