package verra

import (
	"cmp"
	"slices"
	"strings"
)

// The statuses of the table verra.
const (
	Active          = "ACTIVE"
	Retired         = "RETIRED"
	UnderValidation = "UNDER_VALIDATION"
	OnHold          = "ON_HOLD"
	Inactive        = "INACTIVE"
	Rejected        = "REJECTED"
	Unknown         = "UNKNOWN"
)

// Statuses lists the statuses that carbond itself writes.
func Statuses() []string {
	return []string{Active, Retired, UnderValidation, OnHold, Inactive, Rejected, Unknown}
}

// StatusRule maps state codes to a status. The Pattern is a code in upper case
// with at most one "*", which stands for any text.
type StatusRule struct {
	Pattern string
	Status  string
}

// StatusMap turns the registry's state codes and labels into a status. It is
// data, so that an operator can follow a new code without a new build. One
// without Codes and Labels has the default ones.
type StatusMap struct {
	// Own rules come before everything else, in the order given. A rule names
	// a code or, for projects without one, a label in the form of a code
	// ("ON_HOLD" for "On Hold").
	Own []StatusRule
	// Codes are tried exact patterns first, then those with a leading "*",
	// then the others, each group in the order given.
	Codes []StatusRule
	// Labels maps a status label in lower case. It is used when a project has
	// no state code; so are then the exact Codes ("On Hold" for ON_HOLD).
	Labels map[string]string
}

// DefaultStatusMap returns a fresh copy of the built-in map.
func DefaultStatusMap() StatusMap {
	var m StatusMap
	add := func(status string, patterns ...string) {
		for _, p := range patterns {
			m.Codes = append(m.Codes, StatusRule{Pattern: p, Status: status})
		}
	}
	add(Active, "REGISTERED", "LATE_TO_VERIFY", "VALIDATED", "VALIDATION_APPROVED", "VERIFIED", "VERIFICATION_APPROVED",
		"VERIFICATION_APPROVAL_REQUESTED", "REQUANTIFICATION_REQUESTED",
		"CREDIT_PERIOD_RENEWAL_*", "UNDER_VERIFICATION_COMMENT_*", "UNDER_CREDIT_RENEW_*")
	add(UnderValidation, "DEVELOPMENT", "VAL_AND_VER_APPROVAL_REQUESTED", "REGISTRATION_REQUESTED",
		"REGISTRATION_VERIFICATION_APPROVAL_REQ",
		"PIPELINE_LISTING_*", "LISTING_*", "UNDER_VAL_*", "VALIDATION_*REQUESTED")
	add(OnHold, "ON_HOLD", "UNIT_ON_HOLD")
	add(Inactive, "WITHDRAWN", "INACTIVE", "CANCELLED", "CLOSED")
	add(Rejected, "REJECTED", "REJECTED_BY_ADMIN", "DISCARDED", "*_DENIED", "*_EXPIRED")
	m.Labels = map[string]string{
		"registered":                                       Active,
		"late to verify":                                   Active,
		"crediting period renewal requested":               Active,
		"verification approval requested":                  Active,
		"under development":                                UnderValidation,
		"under validation":                                 UnderValidation,
		"registration requested":                           UnderValidation,
		"registration and verification approval requested": UnderValidation,
		"on hold":                   OnHold,
		"withdrawn":                 Inactive,
		"inactive":                  Inactive,
		"rejected by administrator": Rejected,
		"under validation – public comment period": UnderValidation,
		"under validation - public comment period": UnderValidation,
	}
	return m
}

// Status returns the status for a state code, or for the label when the code is
// empty. What the map does not name is UNKNOWN; it never falls back from an
// unknown code to its label, since the label of a new code is new as well.
func (m StatusMap) Status(code, label string) string {
	if m.Codes == nil && m.Labels == nil {
		own := m.Own
		m = DefaultStatusMap()
		m.Own = own
	}
	label = strings.ToLower(strings.Join(strings.Fields(label), " "))
	alike := strings.ToUpper(strings.ReplaceAll(label, " ", "_"))
	code = normalCode(code)
	for _, r := range m.Own {
		if r.matches(cmp.Or(code, alike)) {
			return r.Status
		}
	}
	if code != "" {
		return m.byCode(code)
	}
	if s, ok := m.Labels[label]; ok {
		return s
	}
	code = alike
	if i := slices.IndexFunc(m.Codes, func(r StatusRule) bool { return r.Pattern == code }); i >= 0 && code != "" {
		return m.Codes[i].Status
	}
	return Unknown
}

func (m StatusMap) byCode(code string) string {
	best, rank := Unknown, 3
	for _, r := range m.Codes {
		if k := r.rank(); k < rank && r.matches(code) {
			best, rank = r.Status, k
		}
	}
	return best
}

// rank orders the kinds of patterns: exact, suffix, prefix.
func (r StatusRule) rank() int {
	switch strings.IndexByte(r.Pattern, '*') {
	case -1:
		return 0
	case 0:
		return 1
	}
	return 2
}

func (r StatusRule) matches(code string) bool {
	head, tail, star := strings.Cut(r.Pattern, "*")
	if !star {
		return code == r.Pattern
	}
	return len(code) >= len(head)+len(tail) && strings.HasPrefix(code, head) && strings.HasSuffix(code, tail)
}

// normalCode brings a state code into the form of the map.
func normalCode(code string) string { return strings.ToUpper(strings.TrimSpace(code)) }
