// Package faultfs is a file system for tests of failing disks. It is mounted
// through FUSE over an ordinary directory and passes every operation on.
//
// On the way it can make operations fail (Fault) and write down what was done
// (Op). From such a record Disk tells what a machine may find after a power cut:
// what was synced, and any part of the rest.
//
// The process that mounts it must not use it itself: a page fault in a mapped
// file would wait for a goroutine that cannot run.
package faultfs
