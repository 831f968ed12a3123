// Command mkcopyright writes debian/copyright (DEP-5) for a linked program: its
// own licence, then one paragraph for each linked module.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"carbond/packaging/internal/modinfo"
)

// common are the licences whose text every Debian system has.
var common = map[string]string{
	"Apache-2.0": "/usr/share/common-licenses/Apache-2.0",
	"MPL-2.0":    "/usr/share/common-licenses/MPL-2.0",
}

// apache is that licence within a file that holds several.
var apache = regexp.MustCompile(`(?s)[^\n]*Apache License\s+Version 2\.0, January 2004.*?END OF TERMS AND CONDITIONS[^\n]*\n`)

func main() {
	binary := flag.String("binary", "", "linked program")
	licence := flag.String("licence", "LICENSE", "the project's own licence")
	flag.Parse()
	if err := run(os.Stdout, *binary, *licence); err != nil {
		fmt.Fprintln(os.Stderr, "mkcopyright:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, binary, licence string) error {
	own, err := os.ReadFile(licence)
	if err != nil {
		return err
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("ask go for its folders: %w", err)
	}
	folders := strings.Fields(string(cache))
	program, err := modinfo.Read(binary, folders[0])
	if err != nil {
		return err
	}
	goLicence, err := os.ReadFile(folders[1] + "/LICENSE")
	if err != nil {
		return err
	}
	fmt.Fprint(w, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: carbond\n"+
		"Comment: The program is linked statically. Each module that is part of it is\n"+
		" named below by its import path, as recorded by the linker.\n")
	paragraph(w, "*", modinfo.Module{
		Licence: "MIT", Copyright: []string{"2026 The carbond authors"}, Text: string(own),
	})
	paragraph(w, "go/src/*", modinfo.Module{
		Licence: "BSD-3-Clause", Copyright: []string{"2009 The Go Authors"}, Text: string(goLicence),
	})
	const uplot = "cmd/carbond/internal/console/static/uplot" // is embedded
	text, err := os.ReadFile(filepath.Join(filepath.Dir(licence), uplot, "LICENSE"))
	if err != nil {
		return err
	}
	paragraph(w, uplot+"/*", modinfo.Module{Licence: "MIT", Copyright: []string{"2022 Leon Sorokin"}, Text: string(text)})
	for _, m := range program.Modules {
		paragraph(w, m.Path+"/*", m)
	}
	for id, path := range sorted(common) {
		fmt.Fprintf(w, "\nLicense: %s\n On Debian systems the text is in %s.\n", id, path)
	}
	return nil
}

// sorted ranges over the two common licences in order of their names.
func sorted(m map[string]string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for _, id := range []string{"Apache-2.0", "MPL-2.0"} {
			if !yield(id, m[id]) {
				return
			}
		}
	}
}

// paragraph names one module. A short licence is quoted in full where it
// stands, because its text has the holder's name in it.
func paragraph(w io.Writer, files string, m modinfo.Module) {
	holders := m.Copyright
	if len(holders) == 0 {
		holders = []string{"The authors of " + strings.TrimSuffix(files, "/*")}
	}
	id := strings.ReplaceAll(m.Licence, " AND ", " and ")
	fmt.Fprintf(w, "\nFiles: %s\nCopyright: %s\nLicense: %s\n", files, strings.Join(holders, "\n "), id)
	if _, ok := common[m.Licence]; !ok {
		field(w, apache.ReplaceAllString(m.Text, "(Apache License, Version 2.0: "+common["Apache-2.0"]+")\n"))
	}
	if m.Notice != "" {
		fmt.Fprintln(w, "Comment: The notice of this module:")
		field(w, m.Notice)
	}
}

// field writes the further lines of a field: indented, a dot for an empty one.
func field(w io.Writer, text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), " \r\n")
		if line == "" {
			line = "."
		}
		fmt.Fprintf(w, " %s\n", line)
	}
}
