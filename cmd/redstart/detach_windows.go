package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// detached frees a process from the console, so that it outlives it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends a process: a detached one gets no console events. Its pods end with it; Redis loses nothing that
// its append-only file holds.
func terminate(p *os.Process) error { return p.Kill() }
