package config

import (
	"fmt"
	"strings"
)

// Sample returns a complete, commented configuration file in which every key
// has its default and is switched off by a "#".
func Sample() string {
	var b strings.Builder
	b.WriteString("# carbond configuration. Every key is optional; the values shown are the defaults\n" +
		"# (\"e.g.\" marks an example where the default is empty). Unknown keys are errors:\n" +
		"# try changes with `carbond check-config`, apply them with `systemctl reload carbond`\n" +
		"# (keys marked [reload]) or restart. Each key can also be set in the environment.\n")
	section := ""
	for _, k := range Default().keys() {
		s, leaf, dotted := strings.Cut(k.Name, ".")
		indent := "#"
		if !dotted {
			leaf, s = s, ""
		} else {
			indent = "  #"
		}
		if s != section {
			section = s
			fmt.Fprintf(&b, "\n%s:\n", section)
		} else {
			b.WriteString("\n")
		}
		doc := k.Doc
		if k.Reload {
			doc += " [reload]"
		}
		for _, line := range wrap(doc, 74) {
			fmt.Fprintf(&b, "%s# %s\n", strings.TrimSuffix(indent, "#"), line)
		}
		b.WriteString(sampleLine(indent, leaf, k))
		if k.Secret() {
			fmt.Fprintf(&b, "%s%s_file:\n", indent, leaf)
		}
	}
	return b.String()
}

func sampleLine(indent, leaf string, k Key) string {
	switch {
	case k.Default != "":
		return fmt.Sprintf("%s%s: %s\n", indent, leaf, k.Default)
	case k.Example != "":
		return fmt.Sprintf("%s%s:            # e.g. %s\n", indent, leaf, k.Example)
	}
	return fmt.Sprintf("%s%s:\n", indent, leaf)
}

// wrap breaks a text at spaces into lines of at most width bytes, where words
// allow.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for w := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = w
		case len(line)+1+len(w) > width:
			lines = append(lines, line)
			line = w
		default:
			line += " " + w
		}
	}
	return append(lines, line)
}

// Changed compares two configurations. It returns the names of the keys that
// differ and take effect on reload, and of those that need a restart.
func Changed(old, new *Config) (reload, restart []string) {
	a, b := old.keys(), new.keys()
	for i := range a {
		switch {
		case a[i].get() == b[i].get():
		case a[i].Reload:
			reload = append(reload, a[i].Name)
		default:
			restart = append(restart, a[i].Name)
		}
	}
	return reload, restart
}

// Effective lists every key with its value (secrets hidden) and origin.
func (c *Config) Effective() string {
	var b strings.Builder
	for _, k := range c.keys() {
		fmt.Fprintf(&b, "%s: %s  # %s\n", k.Name, k.Value(), c.Origin(k.Name))
	}
	return b.String()
}

// With returns a copy of c that has the values of new for every key that takes
// effect on reload, and its own for the rest: what is in force after a reload.
func (c *Config) With(new *Config) *Config {
	out := *c
	out.file = new.file
	out.from = make(map[string]string, len(new.from))
	to, from := out.keys(), new.keys()
	for i, k := range from {
		if k.Reload {
			// The text came out of the same key, so it parses.
			_ = to[i].set(k.get())
			out.from[k.Name] = new.Origin(k.Name)
		} else {
			out.from[k.Name] = c.Origin(k.Name)
		}
	}
	return &out
}
