package main

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/bpf"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:         "version",
		Usage:        "version, commit, Go and BPF object checksum",
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			sum := sha256.New()
			for _, object := range bpf.Objects() {
				sum.Write(object)
			}
			_, err := fmt.Fprintf(c.App.Writer, "hangtrace %s\ncommit %s\ngo %s %s/%s\nbpf sha256:%x\n",
				version(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH, sum.Sum(nil))
			return err
		},
	}
}

// release is the version of a release build, set by the linker.
var release = "dev"

func version() string { return release }

// commit is what the build recorded of the source.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = " (modified)"
			}
		}
	}
	return revision + modified
}
