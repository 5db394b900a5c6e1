//go:build !linux

package scale_test

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
