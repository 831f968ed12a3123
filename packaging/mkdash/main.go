// Command mkdash writes the Grafana dashboard of carbond. The panels are a
// table in panels.go; the JSON is committed, and a test compares.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mkdash:", err)
		os.Exit(1)
	}
}

func write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(dashboard())
}
