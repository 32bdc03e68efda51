// Package testkit makes processes hang on purpose and lets them go again.
//
// In: what kind of volume, kubelet tree and victim a test or the demo wants.
// Out: a FUSE file system that can be frozen, directories as a kubelet leaves
// them, victims that block where they say, all in a private mount namespace.
// It must never freeze a mount that the host's mount namespace sees, and never
// leave a mount, a frozen connection or a process behind, however its user ends.
//
// A program that uses it calls RunHidden first thing in main; a test calls
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
// which re-executes the test binary in a private mount namespace under a
// supervisor. Inside, a test opens a Sandbox with New.
package testkit
