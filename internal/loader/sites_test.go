package loader

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSitesAreThoseOfThePrograms holds the words against the C sources: a count
// under another site's words would be a lie.
func TestSitesAreThoseOfThePrograms(t *testing.T) {
	for _, c := range []struct {
		file, block, name string
		sites             []Site
		names             map[string]string // where the site is not called as in C
	}{
		{"hangtrace.h", `enum stat \{`, `(?m)^\tSTAT_(\w+),`, statSites, map[string]string{
			"ring_full": "ring", "slot_taken": "slots", "sleep_taken": "sleeps", "ring_full_sleep": "ring_sleeps", "ring_full_target": "ring_targets", "return_unseen": "returns"}},
		{"walk.h", `enum walk_stat \{`, `(?m)^\tWALK_STAT_(\w+),`, walkSites, nil},
		{"strace_count.h", `struct strace_count \{`, `(?m)^\tu64 (\w+);`, straceSites, nil},
	} {
		text, err := os.ReadFile("../../bpf/" + c.file)
		if os.IsNotExist(err) && os.Getenv("HANGTRACE_KERNEL") != "" {
			t.Skip("a guest has no sources")
		}
		require.NoError(t, err)
		block := regexp.MustCompile(`(?s)` + c.block + `(.*?)\n\};`).FindSubmatch(text)
		require.NotNil(t, block, c.file)
		var want []string
		for _, m := range regexp.MustCompile(c.name).FindAllSubmatch(block[1], -1) {
			name := strings.ToLower(string(m[1]))
			if name == "max" {
				continue
			}
			if ours := c.names[name]; ours != "" {
				name = ours
			}
			want = append(want, name)
		}
		var have []string
		for _, s := range c.sites {
			have = append(have, s.Name)
			require.NotEmpty(t, s.Words, s.Name)
			require.NotEmpty(t, s.Kind, s.Name)
		}
		require.Equal(t, want, have, c.file)
	}
	require.Len(t, walkSites, walkStats)
	require.Equal(t, "bound", walkSites[walkBound].Name)
	require.Equal(t, "dropped", walkSites[walkDropped].Name)
}

// TestCountersOfAnotherVersion takes fewer and more sites than there are words
// for, and two maps of one unit.
func TestCountersOfAnotherVersion(t *testing.T) {
	sites := []Site{{Name: "a", Kind: SiteLost}, {Name: "b", Kind: SiteLost}}
	var r Running
	r.count(sites, []uint64{1})
	require.Equal(t, []Counter{{sites[0], 1}}, r.Counters)
	r.count(sites, []uint64{1, 2, 3})
	require.Len(t, r.Counters, 3)
	require.Equal(t, Counter{sites[0], 2}, r.Counters[0])
	require.Equal(t, uint64(3), r.Counters[2].Count)
	require.Contains(t, r.Counters[2].Words, "newer version")
}
