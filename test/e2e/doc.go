// Package e2e is the end-to-end test of the program as it is installed.
//
// In: the binary that HANGTRACE_BIN names (bin/hangtrace by itself), and real
// hangs made by package testkit. Out: whether report, live and replay say of
// each hang what its victim says of itself. It must never freeze a mount that
// the host sees, depend on wall-clock bounds under seconds, or leave a process,
// a mount or a probe behind.
//
// As a static binary (go test -c) the same tests run in guests with other
// kernels; the test binary is then all there is, so what else they need to run
// (a container, say) is a hidden command of its own.
package e2e
