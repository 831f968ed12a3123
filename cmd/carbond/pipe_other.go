//go:build !linux

package main

import "os"

// brokenPipe cannot tell here; the next write will.
func brokenPipe(*os.File) bool { return false }
