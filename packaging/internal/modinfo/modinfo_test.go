package modinfo_test

import (
	"testing"

	"carbond/packaging/internal/modinfo"
)

func TestIdentify(t *testing.T) {
	const bsd = "Redistribution and use in source and binary forms, with or without\nmodification"
	tests := map[string]struct{ text, want string }{
		"mit":     {"Permission is hereby granted, free of charge, to any\nperson. The above copyright notice and this\n permission notice shall", "MIT"},
		"apache":  {"  Apache License\n  Version 2.0, January 2004", "Apache-2.0"},
		"bsd 2":   {bsd, "BSD-2-Clause"},
		"bsd 3":   {bsd + "\n * Neither the name of Google", "BSD-3-Clause"},
		"mpl":     {"Mozilla Public License Version 2.0\n===", "MPL-2.0"},
		"two":     {bsd + "\n Neither the name\n Apache License\n Version 2.0, January 2004", "Apache-2.0 AND BSD-3-Clause"},
		"unknown": {"All rights reserved.", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := modinfo.Identify(tt.text); got != tt.want {
				t.Errorf("Identify = %q, want %q", got, tt.want)
			}
		})
	}
}
