package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"carbond/packaging/internal/modinfo"
)

// document is the part of SPDX 2.3 that a list of linked modules needs.
type document struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []pkg          `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	ID               string     `json:"SPDXID"`
	Name             string     `json:"name"`
	Version          string     `json:"versionInfo"`
	Purpose          string     `json:"primaryPackagePurpose"`
	DownloadLocation string     `json:"downloadLocation"`
	FilesAnalyzed    bool       `json:"filesAnalyzed"`
	LicenseConcluded string     `json:"licenseConcluded"`
	LicenseDeclared  string     `json:"licenseDeclared"`
	Copyright        string     `json:"copyrightText"`
	Comment          string     `json:"comment,omitempty"`
	Checksums        []checksum `json:"checksums,omitempty"`
	Refs             []ref      `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type ref struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const unknown = "NOASSERTION"

// describe is a document with the program, the Go standard library and every
// linked module.
func describe(p *modinfo.Program, version, sum string, created time.Time) document {
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT",
		Name: fmt.Sprintf("carbond-%s-linux-%s", version, p.Arch),
		// A name, not an address: unique because the hash of the program is in it.
		Namespace: "urn:carbond:spdx:" + sum,
		Creation:  creation{Created: created.Format(time.RFC3339), Creators: []string{"Tool: carbond-mksbom"}},
	}
	d.Packages = append(d.Packages, pkg{
		ID: "SPDXRef-carbond", Name: "carbond", Version: version, Purpose: "APPLICATION",
		DownloadLocation: unknown, LicenseConcluded: "MIT", LicenseDeclared: "MIT",
		Copyright: "Copyright (c) 2026 The carbond authors",
		Checksums: []checksum{{Algorithm: "SHA256", Value: sum}},
	})
	d.Relationships = append(d.Relationships, relationship{d.ID, "DESCRIBES", "SPDXRef-carbond"})
	d.link(modinfo.Module{
		Path: "stdlib", Version: strings.TrimPrefix(p.GoVersion, "go"), Licence: "BSD-3-Clause",
		Copyright: []string{"Copyright 2009 The Go Authors."},
	})
	for _, m := range p.Modules {
		d.link(m)
	}
	return d
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// link adds a module as a part of the program.
func (d *document) link(m modinfo.Module) {
	id := "SPDXRef-" + notInID.ReplaceAllString(m.Path+"-"+m.Version, "-")
	p := pkg{
		ID: id, Name: m.Path, Version: m.Version, Purpose: "LIBRARY", DownloadLocation: unknown,
		LicenseConcluded: m.Licence, LicenseDeclared: m.Licence, Copyright: unknown,
		Refs: []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}},
	}
	if len(m.Copyright) > 0 {
		p.Copyright = strings.Join(m.Copyright, "\n")
	}
	if m.Sum != "" {
		p.Comment = "go.sum " + m.Sum
	}
	d.Packages = append(d.Packages, p)
	d.Relationships = append(d.Relationships, relationship{"SPDXRef-carbond", "STATIC_LINK", id})
}
