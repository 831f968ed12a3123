// Command mkdeb writes the Debian package of carbond for one architecture.
//
// It needs no Debian tools and no root. The same inputs, version and epoch give
// the same bytes: every file carries the epoch as its time, owner is root, and
// the list of contents is sorted.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
)

// options is one package to build. All paths are relative to the caller.
type options struct {
	arch       string // Debian's name: amd64, arm64, armhf
	version    string // upstream version; the Debian revision is -1
	binary     string // the linked program for arch
	docs       string // folder with man/, completion/, carbond.yaml and copyright
	sources    string // the packaging folder of the repository
	changelog  string // CHANGELOG.md, may be absent
	out        string // folder to write the .deb to
	maintainer string
	epoch      time.Time
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkdeb:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := parse()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mkdeb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	info, err := describe(o, work)
	if err != nil {
		return err
	}
	pkg, err := nfpm.Get("deb")
	if err != nil {
		return err
	}
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return fmt.Errorf("check package: %w", err)
	}
	target := filepath.Join(o.out, fmt.Sprintf("carbond_%s-1_%s.deb", o.version, o.arch))
	if err := write(target, info, pkg); err != nil {
		return err
	}
	fmt.Println(target)
	return nil
}

// write replaces target only by a whole package.
func write(target string, info *nfpm.Info, pkg nfpm.Packager) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.Create(target + ".part")
	if err != nil {
		return err
	}
	err = errors.Join(pkg.Package(info, f), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", target, err), os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), target)
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.arch, "arch", "", "Debian architecture: amd64, arm64 or armhf")
	flag.StringVar(&o.version, "version", "", "upstream version")
	flag.StringVar(&o.binary, "binary", "", "program for that architecture")
	flag.StringVar(&o.docs, "docs", "", "folder with man/, completion/ and copyright")
	flag.StringVar(&o.sources, "sources", "packaging", "packaging folder")
	flag.StringVar(&o.changelog, "changelog", "CHANGELOG.md", "upstream changelog")
	flag.StringVar(&o.out, "out", "dist", "folder for the package")
	flag.StringVar(&o.maintainer, "maintainer", "", "name <address> for the control file")
	flag.Parse()
	for name, value := range map[string]string{
		"-arch": o.arch, "-version": o.version, "-binary": o.binary, "-docs": o.docs, "-maintainer": o.maintainer,
	} {
		if value == "" {
			return o, fmt.Errorf("%s is required", name)
		}
	}
	seconds, err := strconv.ParseInt(cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), "0"), 10, 64)
	if err != nil {
		return o, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	o.epoch = time.Unix(seconds, 0).UTC()
	return o, nil
}
