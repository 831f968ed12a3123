package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

const envPrefix = "CARBOND_"

var (
	// EnvConfig names the configuration file when no flag does.
	envConfig = envPrefix + "CONFIG"
	// kubernetes puts such variables into every container beside a service
	// that is called "carbond" or "carbond-something".
	kubernetes = regexp.MustCompile(`^CARBOND_(.*_)?(SERVICE_(HOST|PORT)|PORT)(_.*)?$`)
)

// Path returns the configuration file that the environment names, or "".
func Path(env []string) string {
	set, _ := envMap(env)
	return set[envConfig]
}

// environment applies CARBOND_* variables, and CARBOND_*_FILE for secrets.
func (l *loader) environment() {
	known := map[string]bool{envConfig: true}
	names := []string{envConfig}
	for _, k := range l.keys {
		env := k.Env()
		known[env] = true
		names = append(names, env)
		value, isSet := l.env[env]
		if !k.Secret() {
			if isSet {
				l.set(k.Name, value, "environment "+env, 0)
			}
			continue
		}
		known[env+"_FILE"] = true
		names = append(names, env+"_FILE")
		file, isFile := l.env[env+"_FILE"]
		switch {
		case isSet && isFile:
			l.problems.add("environment "+env, 0, "%s and %s_FILE are both set: keep one of them", env, env)
		case isSet:
			l.set(k.Name, value, "environment "+env, 0)
		case isFile:
			l.secretFile(k.Name, file, "environment "+env+"_FILE", 0)
		case k.blank && l.blank[env]:
			l.set(k.Name, "", "environment "+env, 0)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if !strings.HasPrefix(name, envPrefix) || known[name] || kubernetes.MatchString(name) ||
			strings.HasPrefix(name, envPrefix+"TEST_") {
			continue
		}
		l.warnings.add("environment "+name, 0, "no such setting%s; it has no effect", hint(name, names))
	}
}
