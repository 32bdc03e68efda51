package bpf

// Objects returns the compiled objects of this architecture, for a checksum
// that tells two builds apart.
func Objects() [][]byte {
	return [][]byte{_SnapshotBytes, _TraceBytes, _StraceBytes, _WalkBytes}
}
