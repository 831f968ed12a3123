package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestDemoStaysSmall polls a demo at full speed until its changelog has dropped segments twice: it
// holds no more on disk than its bounds say. Meanwhile its projects have got vintages.
func TestDemoStaysSmall(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	const retention, segment, rest = 2 << 20, 1 << 20, 2 << 20 // rest: checkpoint, groups, state of the feeds
	p := start(t, []string{"CARBOND_RETENTION_BYTES=2MiB", "CARBOND_STORE_SEGMENT_BYTES=1MiB", "CARBOND_LOG_LEVEL=info"}, "demo", "--speed", strconv.Itoa(maxSpeed))
	size := func() (n int64) {
		err := filepath.WalkDir(tmp, func(path string, d fs.DirEntry, err error) error {
			if info, gone := os.Stat(path); err == nil && gone == nil && !d.IsDir() {
				n += info.Size()
			}
			return nil // segments and temporary files go meanwhile
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	dropped := regexp.MustCompile(`(?m)^carbond_changelog_segments_unlinked_total (\d+)`)
	var most int64
	p.until("dropped segments", func() bool {
		for _, feed := range []string{"finance", "verra", "carbonmark"} {
			command(t, nil, "feeds", "poll", feed, "--addr", p.grpc)
		}
		if most = max(most, size()); most > retention+2*segment+rest {
			t.Fatalf("%d bytes on disk", most)
		}
		_, metrics := p.get("/metrics")
		m := dropped.FindStringSubmatch(metrics)
		return m != nil && m[1] >= "2"
	})
	t.Logf("at most %d bytes on disk", most)
	if _, body := p.get("/v1/topics"); !strings.Contains(body, "carbon.public.vintages") {
		t.Error(body)
	}
	full, years := 0, map[int]int{}
	for id := range strings.FieldsSeq(must(t, nil, "view", "projects", "--addr", p.grpc, "--format", "csv")) {
		id, _, _ = strings.Cut(id, ",")
		if !strings.HasPrefix(id, "VCS-") {
			continue
		}
		_, body := p.get("/v1/projects/" + id)
		n := strings.Count(body, `"available":`)
		years[n]++
		if n > 0 && !strings.Contains(body, `"available":null`) {
			full++
		}
	}
	if full == 0 || len(years) < 4 {
		t.Errorf("%d projects with all about their vintages; projects by the number of theirs: %v", full, years)
	}
}
