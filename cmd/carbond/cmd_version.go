package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker: -X main.version=1.2.3 -X main.revision=abc -X main.date=2026-11-23.
var (
	version  = "dev"
	revision = ""
	date     = ""
)

// buildInfo says what was built, from what, when and with which Go.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Date     string `json:"date"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// build returns the linker's values, completed from the binary's own record.
func build() buildInfo {
	b := buildInfo{version, revision, date, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.Revision == "":
				b.Revision = s.Value
			case s.Key == "vcs.time" && b.Date == "":
				b.Date = s.Value
			}
		}
	}
	if b.Revision == "" {
		b.Revision = "unknown"
	}
	if b.Date == "" {
		b.Date = "unknown"
	}
	return b
}

// String is the line of --version.
func (b buildInfo) String() string {
	return fmt.Sprintf("carbond %s (revision %s, built %s, %s, %s)", b.Version, b.Revision, b.Date, b.Go, b.Platform)
}

func cmdVersion(a *app) *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print version, revision, build date and Go version",
		Example: "  carbond version\n  carbond version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if !asJSON {
				_, err := fmt.Fprintln(a.out, build())
				return err
			}
			return json.NewEncoder(a.out).Encode(build())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
