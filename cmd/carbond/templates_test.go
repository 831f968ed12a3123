package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestNoTemplates keeps text/template out of the program: it calls methods by
// name, so the linker could drop none of those that are never called, which is
// 3 MB. cobra imports it, but reaches it only where a command has a template of
// its own; gomponents takes the function that escapes text from it.
func TestNoTemplates(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags", "grpcnotrace", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ".").Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	harmless := []string{"github.com/spf13/cobra", "maragu.dev/gomponents", "html/template"}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		for _, name := range []string{"text/template", "html/template"} {
			if slices.Contains(f[1:], name) && !slices.Contains(harmless, f[0]) {
				t.Errorf("%s imports %s", f[0], name)
			}
		}
	}
}
