package verra_test

import (
	"slices"
	"testing"

	"carbond/feeds/verra"
)

func TestDefaultStatusMap(t *testing.T) {
	t.Parallel()
	byCode := map[string][]string{
		verra.Active: {
			"REGISTERED", "LATE_TO_VERIFY", "VALIDATED", "VALIDATION_APPROVED", "VERIFIED", "VERIFICATION_APPROVED",
			"VERIFICATION_APPROVAL_REQUESTED", "CREDIT_PERIOD_RENEWAL_REQUESTED", "REQUANTIFICATION_REQUESTED",
			"UNDER_VERIFICATION_COMMENT_PERIOD", "UNDER_CREDIT_RENEW_COMMENT", " registered ",
		},
		verra.UnderValidation: {
			"PIPELINE_LISTING_UNDER_DEVELOPMENT", "LISTING_REQUESTED", "DEVELOPMENT", "UNDER_VAL_COMMENT_PERIOD_ON",
			"UNDER_VAL_AND_VER_COMMENT", "VALIDATION_REQUESTED", "VALIDATION_APPROVAL_REQUESTED",
			"VAL_AND_VER_APPROVAL_REQUESTED", "REGISTRATION_REQUESTED", "REGISTRATION_VERIFICATION_APPROVAL_REQ",
		},
		verra.OnHold:   {"ON_HOLD", "UNIT_ON_HOLD"},
		verra.Inactive: {"WITHDRAWN", "INACTIVE", "CANCELLED", "CLOSED"},
		verra.Rejected: {
			"REJECTED", "REJECTED_BY_ADMIN", "DISCARDED", "LISTING_DENIED", "LISTING_EXPIRED", "PIPELINE_LISTING_DENIED",
			"CREDIT_PERIOD_RENEWAL_DENIED", "UNDER_VAL_EXPIRED",
		},
		verra.Unknown: {
			"VER_VAL_PUBLIC_COMMENT_PERIOD_REQUESTED", "VERIFICATION_PUBLIC_COMMENT_PERIOD_REQUESTED",
			"VERIFICATION_COMMENT_REQUESTED", "CREDITING_RENEWAL_VERIFICATION_APP_COMMENT_REQ", "CREDITING_PERIOD_RENEWAL_PCP",
			"LIST_EXPIRATION", "SUSPENDED", "ABANDONED", "DRAFT", "RETIRED", "QUANTUM_VERIFIED", "_DENIED_NOT", "VALIDATION_",
		},
	}
	var m verra.StatusMap
	for want, codes := range byCode {
		for _, code := range codes {
			if got := m.Status(code, "Registered"); got != want {
				t.Errorf("code %q: %s, want %s", code, got, want)
			}
		}
	}
	byLabel := map[string]string{
		"Registered": verra.Active, "late to verify": verra.Active, "Crediting Period Renewal Requested": verra.Active,
		"Verification approval requested": verra.Active, "Under development": verra.UnderValidation,
		"Under  validation ": verra.UnderValidation, "Registration requested": verra.UnderValidation,
		"Registration and verification approval requested": verra.UnderValidation,
		"On Hold": verra.OnHold, "Withdrawn": verra.Inactive, "Inactive": verra.Inactive, "Cancelled": verra.Inactive,
		"Rejected": verra.Rejected, "Rejected by Administrator": verra.Rejected,
		"Units Transferred from Approved GHG Program": verra.Unknown, "Quantum Verified": verra.Unknown, "": verra.Unknown, "*": verra.Unknown,
	}
	for label, want := range byLabel {
		if got := m.Status("", label); got != want {
			t.Errorf("label %q: %s, want %s", label, got, want)
		}
	}
}

func TestStatusMapIsData(t *testing.T) {
	t.Parallel()
	m := verra.DefaultStatusMap()
	m.Codes = append(m.Codes, verra.StatusRule{Pattern: "CREDIT_PERIOD_RENEWAL_DENIED", Status: verra.Active}, verra.StatusRule{Pattern: "DRAFT", Status: "PLANNED"})
	m.Labels["neu"] = verra.OnHold
	for code, want := range map[string]string{"CREDIT_PERIOD_RENEWAL_DENIED": verra.Active, "DRAFT": "PLANNED", "LISTING_DENIED": verra.Rejected} {
		if got := m.Status(code, ""); got != want {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
	}
	if got := m.Status("", "NEU"); got != verra.OnHold {
		t.Errorf("label: %s", got)
	}
	if verra.DefaultStatusMap().Status("DRAFT", "") != verra.Unknown {
		t.Error("a change of one map shows in the default")
	}
	if !slices.Contains(verra.Statuses(), verra.Unknown) {
		t.Error("Statuses is not complete")
	}
}

func TestOwnRulesComeFirst(t *testing.T) {
	t.Parallel()
	m := verra.StatusMap{Own: []verra.StatusRule{
		{Pattern: "CREDIT_PERIOD_RENEWAL_*DENIED", Status: verra.Active},
		{Pattern: "SUSPENDED", Status: verra.OnHold},
		{Pattern: "REGISTERED", Status: verra.Inactive},
		{Pattern: "UNDER_DEVELOPMENT", Status: verra.Unknown},
	}}
	for in, want := range map[[2]string]string{
		{"CREDIT_PERIOD_RENEWAL_APP_DENIED", ""}: verra.Active, // the built-in suffix would win among equals
		{"LISTING_DENIED", ""}:                   verra.Rejected,
		{"suspended ", ""}:                       verra.OnHold,
		{"", "Suspended"}:                        verra.OnHold,
		{"REGISTERED", "Registered"}:             verra.Inactive,
		{"", "Registered"}:                       verra.Inactive,
		{"", "Under development"}:                verra.Unknown,
		{"DEVELOPMENT", "Under development"}:     verra.UnderValidation, // a code is what counts
		{"LATE_TO_VERIFY", ""}:                   verra.Active,
		{"", ""}:                                 verra.Unknown,
	} {
		if got := m.Status(in[0], in[1]); got != want {
			t.Errorf("code %q, label %q: %s, want %s", in[0], in[1], got, want)
		}
	}
}

func TestRetiredReplacesOnlyActive(t *testing.T) {
	t.Parallel()
	n := func(v float64) *float64 { return &v }
	facts := func(issued, retired, cancelled *float64) verra.Facts {
		l := verra.NewLedger()
		for r, tonnes := range map[verra.Resource]*float64{verra.Issuances: issued, verra.Retirements: retired, verra.Cancellations: cancelled} {
			l.SetTotal(r, 1, tonnes)
		}
		return l.Facts(1)
	}
	gone := facts(n(10), n(7), n(3))
	cases := map[string]struct {
		code  string
		facts verra.Facts
		opts  verra.RowOptions
		want  string
	}{
		"all gone":              {"REGISTERED", gone, verra.RowOptions{}, verra.Retired},
		"all gone, on hold":     {"ON_HOLD", gone, verra.RowOptions{}, verra.OnHold},
		"all gone, configured":  {"ON_HOLD", gone, verra.RowOptions{RetiredFrom: []string{verra.OnHold}}, verra.Retired},
		"some left":             {"REGISTERED", facts(n(10), n(7), n(2)), verra.RowOptions{}, verra.Active},
		"nothing issued":        {"REGISTERED", facts(n(0), nil, nil), verra.RowOptions{}, verra.Active},
		"cancellations unknown": {"REGISTERED", facts(n(10), n(10), nil), verra.RowOptions{}, verra.Active},
		"more gone than issued": {"REGISTERED", facts(n(10), n(10), n(1)), verra.RowOptions{}, verra.Active},
		"nothing known":         {"REGISTERED", verra.Facts{}, verra.RowOptions{}, verra.Active},
	}
	for name, c := range cases {
		p := verra.Project{ProjectID: "VCS-1", StateCode: c.code}
		if got := p.Row(c.facts, c.opts).RegistryStatus; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestLinkPrefix(t *testing.T) {
	t.Parallel()
	p := verra.Project{ProjectID: "VCS-934"}
	if got := p.Row(verra.Facts{}, verra.RowOptions{}).ProjectLink; got != "https://registry.verra.org/app/projectDetail/VCS/934" {
		t.Error(got)
	}
	if got := p.Row(verra.Facts{}, verra.RowOptions{LinkPrefix: "https://x.example/?id="}).ProjectLink; got != "https://x.example/?id=934" {
		t.Error(got)
	}
}
