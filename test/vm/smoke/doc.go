// Package smoke says whether a guest of test/vm can carry the privileged tests:
// it mounts a FUSE file system and loads, attaches and runs BPF programs. It
// must not need anything of the tool, so that a failure is the machine's.
package smoke
