package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"carbond/replicate/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{pgtest.Wrap(m)}, map[string]func(){
		"carbond": func() { os.Exit(realMain()) },
	})
}

// leakChecked fails a run of tests that leaves goroutines behind.
type leakChecked struct{ m testscript.TestingM }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestScripts runs the command-line transcripts in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CARBOND_CONFIG", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    cmdExits,
			"damage":   cmdDamage,
			"until":    cmdUntil,
			"freeport": cmdFreePort,
		},
	})
}
