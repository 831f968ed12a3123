package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
)

func cmdMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man [DIRECTORY]",
		Short: "Print the manual page, or write all of them into a directory",
		Long: "Prints carbond.8. With a DIRECTORY it writes carbond.8, one page for each command and\n" +
			"carbond.yaml.5 there, from the same tables as --help and check-config.",
		Example: "  carbond man | man -l -\n  carbond man ./man && man ./man/carbond.yaml.5",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return client.Usage(fmt.Errorf("unexpected argument %q", args[1]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.Root().InitDefaultHelpFlag()
				_, err := io.WriteString(a.out, manPage(cmd.Root()))
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			n, err := writeMan(cmd.Root(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "wrote %d pages to %s\n", n, args[0])
			return err
		},
	}
}

// oneArg wants exactly one argument and names it.
func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return client.Usage(fmt.Errorf("%s is missing", name))
		case len(args) > 1:
			return client.Usage(fmt.Errorf("unexpected argument %q", args[1]))
		}
		return nil
	}
}

func writeMan(root *cobra.Command, dir string) (int, error) {
	n := 0
	write := func(name, text string) error {
		n++
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	var walk func(c *cobra.Command) error
	walk = func(c *cobra.Command) error {
		c.InitDefaultHelpFlag()
		if err := write(manName(c)+".8", manPage(c)); err != nil {
			return err
		}
		for _, sub := range c.Commands() {
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root); err != nil {
		return n, err
	}
	return n, write("carbond.yaml.5", manConfig(config.Default().Keys()))
}

// roff writes man(7). It exists because the pages of section 5 come from the
// key table and need a writer anyway, and it keeps two modules out of the build.
type roff struct{ strings.Builder }

var roffEscape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// esc protects a line of text; a leading dot or quote would be a request.
func esc(s string) string {
	s = roffEscape.Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func (r *roff) request(name, arg string) {
	fmt.Fprintf(r, ".%s %s\n", name, arg)
}

func (r *roff) head(title, section, kind string) {
	fmt.Fprintf(r, ".TH \"%s\" \"%s\" \"%s\" \"carbond %s\" \"%s\"\n", strings.ToUpper(esc(title)), section,
		esc(manDate()), esc(build().Version), kind)
	r.WriteString(".nh\n.ad l\n")
}

func manDate() string {
	if d := build().Date; d != "unknown" {
		day, _, _ := strings.Cut(d, "T")
		return day
	}
	return ""
}

func (r *roff) para(s string) {
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		if line == "" {
			r.WriteString(".PP\n")
			continue
		}
		r.WriteString(esc(strings.TrimSpace(line)) + "\n")
	}
}

// code writes lines that keep their breaks.
func (r *roff) code(s string) {
	r.WriteString(".PP\n.RS 4\n.nf\n")
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		r.WriteString(esc(strings.TrimPrefix(line, "  ")) + "\n")
	}
	r.WriteString(".fi\n.RE\n")
}

// item writes one entry of a definition list.
func (r *roff) item(term, text string) {
	fmt.Fprintf(r, ".TP\n\\fB%s\\fR\n", esc(term))
	r.para(text)
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage renders the page of one command.
func manPage(c *cobra.Command) string {
	var r roff
	r.head(manName(c), "8", "System Administration")
	r.request("SH", "NAME")
	fmt.Fprintf(&r, "%s \\- %s\n", esc(manName(c)), esc(c.Short))
	r.request("SH", "SYNOPSIS")
	fmt.Fprintf(&r, "\\fB%s\\fR\n", esc(c.UseLine()))
	r.request("SH", "DESCRIPTION")
	if c.Long != "" {
		r.para(c.Long)
	} else {
		r.para(c.Short + ".")
	}
	r.flags("OPTIONS", c.NonInheritedFlags())
	r.flags("GLOBAL OPTIONS", c.InheritedFlags())
	if len(c.Commands()) > 0 {
		r.request("SH", "COMMANDS")
		for _, sub := range c.Commands() {
			r.item(manName(sub)+"(8)", sub.Short+".")
		}
	}
	if !c.HasParent() {
		r.request("SH", `"EXIT STATUS"`)
		r.item("0", "Success.")
		r.item("1", "Failure; standard error says of what.")
		r.item("64", "Wrong usage: unknown command, flag or argument.")
		r.item("78", "Invalid configuration; every problem is printed with its place.")
		r.request("SH", "FILES")
		r.item(config.DefaultPath, "Configuration, see carbond.yaml(5).")
	}
	if c.Example != "" {
		r.request("SH", "EXAMPLES")
		r.code(c.Example)
	}
	r.request("SH", `"SEE ALSO"`)
	refs := []string{`\fBcarbond.yaml\fR(5)`}
	if c.HasParent() {
		refs = append([]string{`\fB` + esc(manName(c.Parent())) + `\fR(8)`}, refs...)
	}
	r.WriteString(strings.Join(refs, ", ") + "\n")
	return r.String()
}

func (r *roff) flags(title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	r.request("SH", `"`+title+`"`)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			term += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		r.item(term, usage)
	})
}

// manConfig renders carbond.yaml(5) from the table of keys.
func manConfig(keys []config.Key) string {
	var r roff
	r.head("carbond.yaml", "5", "File Formats")
	r.request("SH", "NAME")
	r.WriteString("carbond.yaml \\- configuration of carbond\n")
	r.request("SH", "DESCRIPTION")
	r.para("YAML with the keys below, a dot standing for nesting. Every key is optional. An unknown key, a key given twice and a malformed value are errors; `carbond check-config` prints all of them with their lines.\n\n" +
		"Layers, weakest first: defaults, credentials, this file, the environment, flags. Each key has an environment variable; an empty variable counts as not set, except CARBOND_POSTGRES_URL, which then means embedded mode.\n\n" +
		"A secret can be given as a file instead: by the key with _file behind its name, by the variable with _FILE, or as a systemd credential (LoadCredential=) that has the key's name. Giving a secret and its file in the same layer is an error.\n\n" +
		"Durations are written 500ms, 60s, 10m, 12h or 7d; sizes 4096, 512KiB, 64MiB or 2GB; lists as YAML lists or separated by commas. Keys marked \"reload\" follow SIGHUP, others a restart.")
	r.request("SH", "KEYS")
	for _, k := range keys {
		text := k.Doc + "\n\nType: " + k.Type + "."
		if k.Default != "" {
			text += " Default: " + k.Default + "."
		}
		text += " Environment: " + k.Env()
		if k.Secret() {
			text += " or " + k.Env() + "_FILE; file: " + k.Name + "_file; credential: " + k.Name
		}
		text += "."
		if k.Reload {
			text += " Reload."
		}
		r.item(k.Name, strings.ReplaceAll(text, "\n\n", "\n"))
	}
	r.request("SH", "EXAMPLE")
	r.code("  postgres:\n    url: postgres://carbond@db.example.org/carbon?sslmode=verify-full\n    password_file: /etc/carbond/postgres.password\n  grpc:\n    listen: 0.0.0.0:50051\n    tls_cert: /etc/carbond/tls.crt\n    tls_key: /etc/carbond/tls.key\n  feeds:\n    enabled: [verra, carbonmark]")
	r.request("SH", `"SEE ALSO"`)
	r.WriteString("\\fBcarbond\\fR(8)\n")
	return r.String()
}
