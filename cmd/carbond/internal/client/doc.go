// Package client is what the commands that talk to the daemon share: how they reach
// it, what they make of its errors, and how they print.
package client
