// Command mksbom writes a bill of materials of a linked program as SPDX 2.3
// JSON, from what the linker recorded. The document depends on the program and
// SOURCE_DATE_EPOCH alone.
package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"carbond/packaging/internal/modinfo"
)

func main() {
	binary := flag.String("binary", "", "linked program")
	version := flag.String("version", "", "version of the program")
	flag.Parse()
	if err := run(os.Stdout, *binary, *version); err != nil {
		fmt.Fprintln(os.Stderr, "mksbom:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, binary, version string) error {
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return fmt.Errorf("ask go for its folder: %w", err)
	}
	program, err := modinfo.Read(binary, strings.TrimSpace(string(cache)))
	if err != nil {
		return err
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), "0"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	sum := sha256.Sum256(body)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(describe(program, version, hex.EncodeToString(sum[:]), time.Unix(seconds, 0).UTC()))
}
