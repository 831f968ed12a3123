// Package modinfo says which modules are linked into a program and under which
// licences they come. It reads what the linker recorded, so it cannot list a
// module that is not there or forget one that is.
package modinfo

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Module is one linked module.
type Module struct {
	Path, Version string
	Sum           string // h1: hash of go.sum
	Licence       string // SPDX expression
	Copyright     []string
	Text          string // the licence file as it is
	Notice        string // the notice that the Apache licence wants to be passed on
}

// Program is a linked program.
type Program struct {
	GoVersion string
	Arch      string // GOARCH, with GOARM appended for arm
	Modules   []Module
}

// Read lists the modules of the program at path, sorted by module path. With
// cache set, the folder of the Go module cache, it also reads their licences
// and refuses a module whose licence it does not know: somebody must look.
func Read(path, cache string) (*Program, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &Program{GoVersion: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" || s.Key == "GOARM" {
			p.Arch += s.Value
		}
	}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		m := Module{Path: d.Path, Version: d.Version, Sum: d.Sum}
		if cache != "" {
			if err := m.licence(cache); err != nil {
				return nil, err
			}
		}
		p.Modules = append(p.Modules, m)
	}
	slices.SortFunc(p.Modules, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return p, nil
}

// licenceFile are the names that modules use, in order of preference.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)(\.(md|txt|mit))?$`)

func (m *Module) licence(cache string) error {
	dir := filepath.Join(cache, escape(m.Path)+"@"+escape(m.Version))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not in the module cache %s: run go mod download", m.Path, cache)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "NOTICE" || e.Name() == "NOTICE.txt" {
			notice, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			m.Notice = string(notice)
		}
	}
	for _, e := range entries {
		if !licenceFile.MatchString(e.Name()) || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		m.Text = string(text)
		m.Licence = Identify(m.Text)
		m.Copyright = holders(m.Text)
		if m.Licence == "" {
			return fmt.Errorf("%s: licence in %s is none of the known ones", m.Path, e.Name())
		}
		return nil
	}
	return fmt.Errorf("%s has no licence file", m.Path)
}

// escape writes a module path as the cache does: an upper-case letter becomes
// an exclamation mark and the lower-case one.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Identify names the licence of a text by phrases that only it contains, ""
// when none fits.
func Identify(text string) string {
	t := strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(phrases ...string) bool {
		return !slices.ContainsFunc(phrases, func(p string) bool { return !strings.Contains(t, p) })
	}
	var found []string
	for _, c := range []struct {
		id   string
		mark bool
	}{
		{"Apache-2.0", has("apache license", "version 2.0, january 2004")},
		{"MPL-2.0", has("mozilla public license version 2.0") || has("mozilla public license, version 2.0", "1. definitions")},
		{"MIT", has("permission is hereby granted, free of charge", "the above copyright notice and this permission notice")},
		{"ISC", has("permission to use, copy, modify, and/or distribute this software for any purpose")},
		{"BSD-3-Clause", has("redistribution and use in source and binary forms", "neither the name")},
		{"BSD-2-Clause", has("redistribution and use in source and binary forms") && !has("neither the name")},
	} {
		if c.mark {
			found = append(found, c.id)
		}
	}
	return strings.Join(found, " AND ")
}

var copyrightLine = regexp.MustCompile(`(?i)^\W*(copyright\s+(\(c\)|©|[0-9]{4}).*)$`)

// holders are the copyright lines of a licence file, without the sample line
// in the appendix of the Apache licence.
func holders(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		m := copyrightLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || strings.Contains(m[1], "[yyyy]") || strings.Contains(m[1], "{yyyy}") {
			continue
		}
		if s := strings.TrimRight(m[1], " *"); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
