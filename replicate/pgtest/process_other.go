//go:build !linux

package pgtest

import "syscall"

// attributes gives the postmaster its own process group.
func attributes(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true}
}

// children is unknown here; they end by themselves when the postmaster dies.
func children(int) []int { return nil }
