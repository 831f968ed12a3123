//go:build !linux

package e2e_test

import "syscall"

// dieWithParent has no counterpart here.
func dieWithParent() *syscall.SysProcAttr { return nil }
