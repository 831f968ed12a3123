package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlLine finds the line in a parser error: "yaml: line 3: did not find ...".
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// yaml applies one YAML document. Problems name path:line.
func (l *loader) yaml(path string, b []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file is all defaults
			l.yamlError(path, err)
		}
		return
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		l.problems.add(at(path, second.Line), second.Line, "a second YAML document; only one is read")
	} else if !errors.Is(err, io.EOF) {
		l.yamlError(path, err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return
	}
	l.mapping(path, "", doc.Content[0], map[string]bool{})
}

func (l *loader) yamlError(path string, err error) {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		l.problems.add(at(path, n), n, "not YAML: %s", m[2])
		return
	}
	l.problems.add(path, 0, "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

func at(path string, line int) string { return fmt.Sprintf("%s:%d", path, line) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// mapping applies the entries of one mapping; prefix is "" or "section.".
func (l *loader) mapping(path, prefix string, n *yaml.Node, seen map[string]bool) {
	if n.Kind != yaml.MappingNode {
		where := "the file"
		if prefix != "" {
			where = strings.TrimSuffix(prefix, ".")
		}
		l.problems.add(at(path, n.Line), n.Line, "%s: want keys with values, found %s", where, kindName(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := prefix + key.Value
		if key.Kind != yaml.ScalarNode {
			l.problems.add(at(path, key.Line), key.Line, "a key that is not a word")
			continue
		}
		if seen[name] {
			l.problems.add(at(path, key.Line), key.Line, "%s is given twice", name)
			continue
		}
		seen[name] = true
		l.entry(path, name, key, value, seen)
	}
}

// entry applies one key of the file.
func (l *loader) entry(path, name string, key, value *yaml.Node, seen map[string]bool) {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	where := at(path, key.Line)
	base, isFile := strings.CutSuffix(name, "_file")
	switch k := l.byName[name]; {
	case k != nil:
		if isNull(value) || (value.Kind == yaml.ScalarNode && value.Value == "" && k.Default != "") {
			return
		}
		s, err := leaf(k, value)
		if err != nil {
			l.bad[name] = true
			l.problems.add(at(path, value.Line), value.Line, "%s: %s", name, err)
			return
		}
		if k.Secret() && s != "" {
			l.conflict(name, path, where, key.Line)
		}
		l.set(name, s, where, key.Line)
	case isFile && l.byName[base] != nil && l.byName[base].Secret():
		if value.Kind != yaml.ScalarNode {
			l.problems.add(where, key.Line, "%s: want a path, found %s", name, kindName(value))
			return
		}
		if value.Value == "" || isNull(value) {
			return
		}
		l.conflict(base, path, where, key.Line)
		if l.overridden(base) {
			return
		}
		l.secretFile(base, value.Value, where, key.Line)
	case l.isSection(name):
		if !isNull(value) {
			l.mapping(path, name+".", value, seen)
		}
	default:
		l.problems.add(where, key.Line, "unknown key %q%s", name, hint(name, l.names(name)))
	}
}

// conflict reports a secret that this file gives both as a value and as a file.
func (l *loader) conflict(name, path, where string, line int) {
	if strings.HasPrefix(l.cfg.from[name], path+":") {
		l.problems.add(where, line, "%s and %s_file are both given: keep one of them", name, name)
	}
}

// leaf turns a YAML value into the text that the key's parser reads.
func leaf(k *Key, n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case k.list && n.Kind == yaml.SequenceNode:
		items := make([]string, 0, len(n.Content))
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return "", fmt.Errorf("line %d: want a word, found %s", c.Line, kindName(c))
			}
			items = append(items, c.Value)
		}
		if len(items) == 0 {
			return "none", nil
		}
		return strings.Join(items, "\n") + "\n", nil
	case k.list && n.Kind == yaml.MappingNode && strings.Contains(k.Type, "="):
		items := make([]string, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			items = append(items, n.Content[i].Value+"="+n.Content[i+1].Value)
		}
		return strings.Join(items, "\n") + "\n", nil
	}
	return "", fmt.Errorf("want a %s, found %s", k.Type, kindName(n))
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return fmt.Sprintf("%q", n.Value)
	}
	return "something else"
}

func (l *loader) isSection(name string) bool {
	for _, k := range l.keys {
		if strings.HasPrefix(k.Name, name+".") {
			return true
		}
	}
	return false
}

// names lists what may stand where the unknown name stands: full key names, and
// section names for a word without a dot.
func (l *loader) names(unknown string) []string {
	var out []string
	seen := map[string]bool{}
	for _, k := range l.keys {
		section, _, dotted := strings.Cut(k.Name, ".")
		if dotted && !seen[section] && !strings.Contains(unknown, ".") {
			seen[section] = true
			out = append(out, section)
		}
		out = append(out, k.Name)
		if k.Secret() {
			out = append(out, k.Name+"_file")
		}
	}
	return out
}
