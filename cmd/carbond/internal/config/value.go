package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Key is one configuration key, bound to a field of one Config.
type Key struct {
	Name    string // "grpc.listen"
	Type    string // for people: "duration", "byte size", "one of a, b"
	Default string
	Doc     string
	Example string // shown in the sample file instead of the default
	Reload  bool   // takes effect on SIGHUP

	list   bool
	blank  bool // an empty environment variable empties it
	secret *Secret
	set    func(string) error
	get    func() string // canonical text; secrets are hidden by the caller
}

// Env returns the environment variable that overrides the key.
func (k Key) Env() string {
	return "CARBOND_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Secret reports whether the value must never be shown.
func (k Key) Secret() bool { return k.secret != nil }

// Value returns the current value as it may be shown to people.
func (k Key) Value() string {
	if k.secret != nil {
		if strings.HasSuffix(k.Name, "url") {
			return RedactURL(k.get())
		}
		return k.secret.String()
	}
	return k.get()
}

// bind makes a Key from a field and its parser and printer.
func bind[T any](name, typ, def string, field *T, parse func(string) (T, error), print func(T) string) Key {
	return Key{
		Name: name, Type: typ, Default: def,
		set: func(s string) error {
			v, err := parse(s)
			if err == nil {
				*field = v
			}
			return err
		},
		get: func() string { return print(*field) },
	}
}

func (k Key) doc(s string) Key     { k.Doc = s; return k }
func (k Key) reload() Key          { k.Reload = true; return k }
func (k Key) example(s string) Key { k.Example = s; return k }

// blankable is for a key whose emptiness is a choice of its own, which the
// environment must be able to make whatever the file says.
func (k Key) blankable() Key { k.blank = true; return k }

func same(s string) string { return s }

func text(name, def string, f *string) Key {
	return bind(name, "text", def, f, func(s string) (string, error) { return s, nil }, same)
}

func path(name, def string, f *string) Key {
	k := text(name, def, f)
	k.Type = "path"
	return k
}

func secret(name string, f *Secret) Key {
	k := bind(name, "secret", "", f,
		func(s string) (Secret, error) { return NewSecret(s), nil },
		func(s Secret) string { return s.Reveal() })
	k.secret = f
	return k
}

func oneOf(name, def string, f *string, words ...string) Key {
	return bind(name, "one of "+strings.Join(words, ", "), def, f, func(s string) (string, error) {
		for _, w := range words {
			if strings.EqualFold(w, s) {
				return w, nil
			}
		}
		return "", fmt.Errorf("%q is none of %s%s", s, strings.Join(words, ", "), hint(s, words))
	}, same)
}

func boolean(name, def string, f *bool) Key {
	return bind(name, "true or false", def, f, func(s string) (bool, error) {
		switch strings.ToLower(s) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return false, fmt.Errorf("%q is neither true nor false", s)
	}, strconv.FormatBool)
}

func integer(name, def string, f *int, lo, hi int) Key {
	return bind(name, fmt.Sprintf("number from %d to %d", lo, hi), def, f, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, fmt.Errorf("%q is not a whole number from %d to %d", s, lo, hi)
		}
		return n, nil
	}, strconv.Itoa)
}

func number(name, def string, f *float64) Key {
	return bind(name, "number", def, f, func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || n < 0 || math.IsNaN(n) || math.IsInf(n, 0) {
			return 0, fmt.Errorf("%q is not a number of 0 or more", s)
		}
		return n, nil
	}, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) })
}

// part is a number above 0 and at most 1.
func part(name, def string, f *float64) Key {
	return bind(name, "number above 0, at most 1", def, f, func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n > 0 && n <= 1) {
			return 0, fmt.Errorf("%q is not a number above 0 and at most 1", s)
		}
		return n, nil
	}, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) })
}

// duration is a time span of at least lo; zero is allowed when lo is zero.
func duration(name, def string, f *time.Duration, lo time.Duration) Key {
	return bind(name, "duration", def, f, func(s string) (time.Duration, error) {
		d, err := parseDuration(s)
		if err != nil {
			return 0, err
		}
		if d < lo {
			return 0, fmt.Errorf("%q is below the least value %s", s, formatDuration(lo))
		}
		return d, nil
	}, formatDuration)
}

// parseDuration reads Go's durations and whole days: "90s", "1h30m", "7d".
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 500ms, 60s, 10m, 12h or 7d", s)
	}
	return d, nil
}

func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var byteUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// size is a number of bytes from lo to hi; hi 0 means no upper bound.
func size(name, def string, f *int64, lo, hi int64) Key {
	return bind(name, "byte size", def, f, func(s string) (int64, error) {
		n, err := ParseSize(s)
		switch {
		case err != nil:
			return 0, err
		case n < lo:
			return 0, fmt.Errorf("%q is below the least value %s", s, formatSize(lo))
		case hi > 0 && n > hi:
			return 0, fmt.Errorf("%q is above the greatest value %s", s, formatSize(hi))
		}
		return n, nil
	}, formatSize)
}

// ParseSize reads a byte size such as 64MiB.
func ParseSize(s string) (int64, error) {
	digits, factor := s, int64(1)
	for _, u := range byteUnits {
		if d, ok := strings.CutSuffix(s, u.suffix); ok {
			digits, factor = strings.TrimSpace(d), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is not a byte size such as 4096, 512KiB, 64MiB or 2GB", s)
	}
	return n * factor, nil
}

func formatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := byteUnits[i]; n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func listen(name, def string, f *string) Key {
	return bind(name, "listen address", def, f, func(s string) (string, error) {
		if s == "" && def == "" {
			return "", nil
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", fmt.Errorf("%q is not host:port, such as 127.0.0.1:50051 or [::]:50051", s)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return "", fmt.Errorf("%q has no port number from 0 to 65535", s)
		}
		if strings.ContainsAny(host, " /") {
			return "", fmt.Errorf("%q has a malformed host name", s)
		}
		return s, nil
	}, same)
}

func webURL(name, def string, f *string) Key {
	return bind(name, "URL", def, f, func(s string) (string, error) { return s, checkURL(s) }, same)
}

// checkURL wants an absolute http or https URL; "" is allowed.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%q is not an http or https URL", RedactURL(s))
	}
	return nil
}

// words is a comma-separated list of known words; "none" alone is the empty list.
func words(name, def string, f *[]string, known ...string) Key {
	k := bind(name, "list of "+strings.Join(known, ", ")+"; or none", def, f, func(s string) ([]string, error) {
		list := splitList(s)
		if len(list) == 1 && list[0] == "none" {
			return nil, nil
		}
		for i, w := range list {
			if !slices.Contains(known, w) {
				return nil, fmt.Errorf("%q is none of %s%s", w, strings.Join(known, ", "), hint(w, known))
			}
			if slices.Contains(list[:i], w) {
				return nil, fmt.Errorf("%q is listed twice", w)
			}
		}
		return list, nil
	}, func(v []string) string {
		if len(v) == 0 {
			return "none"
		}
		return strings.Join(v, ",")
	})
	k.list = true
	return k
}

// texts is a list of any words.
func texts(name, def string, f *[]string) Key {
	k := bind(name, "list", def, f, func(s string) ([]string, error) {
		if s == "none" {
			return nil, nil
		}
		return splitList(s), nil
	}, func(v []string) string { return strings.Join(v, ",") })
	k.list = true
	return k
}

// namedURLs is a list of name=url.
func namedURLs(name, def string, f *[]NamedURL) Key {
	k := bind(name, "list of name=url", def, f, func(s string) ([]NamedURL, error) {
		var out []NamedURL
		if s == "none" {
			return nil, nil
		}
		for _, item := range splitList(s) {
			n, u, ok := strings.Cut(item, "=")
			n, u = strings.TrimSpace(n), strings.TrimSpace(u)
			if !ok || n == "" || u == "" {
				return nil, fmt.Errorf("%q is not name=url", RedactURL(item))
			}
			if err := checkURL(u); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(out, func(o NamedURL) bool { return o.Name == n }) {
				return nil, fmt.Errorf("the name %q is listed twice", n)
			}
			out = append(out, NamedURL{n, u})
		}
		return out, nil
	}, func(v []NamedURL) string {
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = v[i].Name + "=" + v[i].URL
		}
		return strings.Join(parts, ",")
	})
	k.list = true
	return k
}

// splitList splits at line ends if there are any (YAML lists come that way),
// else at commas, and drops empty items.
func splitList(s string) []string {
	sep := ","
	if strings.Contains(s, "\n") {
		sep = "\n"
	}
	var out []string
	for item := range strings.SplitSeq(s, sep) {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func slot(name, def string, f *string) Key {
	return bind(name, "slot name", def, f, func(s string) (string, error) {
		if !slotName.MatchString(s) {
			return "", fmt.Errorf("%q is not a slot name: use 1 to 63 of a-z, 0-9 and _", s)
		}
		return s, nil
	}, same)
}

func identifier(name, def string, f *string) Key {
	return bind(name, "SQL name", def, f, func(s string) (string, error) {
		if s == "" || len(s) > 63 || strings.ContainsRune(s, 0) {
			return "", fmt.Errorf("%q is not a name of 1 to 63 bytes", s)
		}
		return s, nil
	}, same)
}
