package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// pairs is a list of name=value, each of which check accepts. Names are unique.
func pairs(name, form, def string, f *[]Pair, check func(p Pair) error) Key {
	k := bind(name, "list of "+form, def, f, func(s string) ([]Pair, error) {
		var out []Pair
		if s == "none" {
			return nil, nil
		}
		for _, item := range splitList(s) {
			n, v, ok := strings.Cut(item, "=")
			p := Pair{strings.TrimSpace(n), strings.TrimSpace(v)}
			if !ok || p.Name == "" || p.Value == "" {
				return nil, fmt.Errorf("%q is not %s", item, form)
			}
			if err := check(p); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(out, func(o Pair) bool { return o.Name == p.Name }) {
				return nil, fmt.Errorf("%q is listed twice", p.Name)
			}
			out = append(out, p)
		}
		return out, nil
	}, func(v []Pair) string {
		items := make([]string, len(v))
		for i := range v {
			items[i] = v[i].Name + "=" + v[i].Value
		}
		return strings.Join(items, ",")
	})
	k.list = true
	return k
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`)

// headers is a list of request headers. Those that frame a message or name the
// program are not the user's to set.
func headers(name, def string, f *[]Pair) Key {
	return pairs(name, "name=value", def, f, func(p Pair) error {
		if !headerName.MatchString(p.Name) {
			return fmt.Errorf("%q is not the name of a header", p.Name)
		}
		if strings.ContainsFunc(p.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("the value of header %s has characters that a header cannot hold", p.Name)
		}
		switch strings.ToLower(p.Name) {
		case "user-agent":
			return fmt.Errorf("carbond sends its own %s: set feeds.user_agent_contact", p.Name)
		case "host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "trailer", "upgrade":
			return fmt.Errorf("header %s belongs to the connection and cannot be set", p.Name)
		}
		return nil
	})
}

// statusWords are what the column registry_status holds when carbond fills it.
var statusWords = []string{"ACTIVE", "RETIRED", "UNDER_VALIDATION", "ON_HOLD", "INACTIVE", "REJECTED", "UNKNOWN"}

// statuses is a list of state codes with their status.
func statuses(name, def string, f *[]Pair) Key {
	return pairs(name, "code=status", def, f, func(p Pair) error {
		switch {
		case strings.Count(p.Name, "*") > 1:
			return fmt.Errorf("%q has more than one *", p.Name)
		case !slices.Contains(statusWords, p.Value):
			return fmt.Errorf("%q is none of %s%s", p.Value, strings.Join(statusWords, ", "), hint(p.Value, statusWords))
		}
		return nil
	})
}

// intervals is a list of names with a duration.
func intervals(name, def string, f *[]Pair) Key {
	return pairs(name, "name=duration", def, f, func(p Pair) error {
		d, err := parseDuration(p.Value)
		if err == nil && d < time.Second {
			err = fmt.Errorf("%q is below the least value 1s", p.Value)
		}
		return err
	})
}

// Duration is the value of a pair of intervals; 0 when it is of another kind.
func (p Pair) Duration() time.Duration {
	d, err := parseDuration(p.Value)
	if err != nil {
		return 0
	}
	return d
}

var digits = regexp.MustCompile(`^[0-9]{0,19}$`)

// number64 is a whole number that upstreams give out, kept as its text; "" is
// allowed.
func number64(name, def string, f *string) Key {
	return bind(name, "number", def, f, func(s string) (string, error) {
		if !digits.MatchString(s) {
			return "", fmt.Errorf("%q is not a whole number", s)
		}
		return s, nil
	}, same)
}
