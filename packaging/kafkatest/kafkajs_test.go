package kafkatest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKafkaJS lets kafkajs read the demo; npm brings it.
func TestKafkaJS(t *testing.T) {
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		t.Logf("%s", out)
	}
	run("npm", "install", "--prefix", dir, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "kafkajs@2.2.4")
	run("node", "testdata/kafkajs.js", demo(t))
}
