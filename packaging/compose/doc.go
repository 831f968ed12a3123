// Package compose holds the compose project and the test that keeps it in step
// with the image, the rules and the dashboard. Whether an engine starts it is
// tried by hand before a release: the test reads the files alone.
package compose
