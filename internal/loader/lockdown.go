package loader

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// errLockdown is why nothing of ours loads on a kernel that is locked down in
// confidentiality mode.
var errLockdown = fmt.Errorf("%w: kernel lockdown (confidentiality) forbids BPF programs to read kernel memory", ErrNotSupported)

// KernelMemory tells whether programs may read the kernel's memory: an error
// that is ErrNotSupported says that lockdown forbids it, another one that it
// could not be tried.
func KernelMemory() error {
	// Any kernel that has ring buffers (5.8) has the helper to read memory (5.5):
	// only lockdown takes it away. Without the right to load a program at all, both
	// questions end in the same error.
	if err := features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnRingbufOutput); err != nil {
		return refusal(err)
	}
	return memoryRefusal(features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnProbeReadKernel))
}

// memoryRefusal judges what became of trying the helper. Where the verifier says
// "program of this type" (6.12), the library looks for the number of the helper
// that it was asked for, and finds that of the older one which it took instead:
// it then calls the answer inconclusive.
func memoryRefusal(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) || refusesProbeRead(err) {
		return errLockdown
	}
	return refusal(err) // which asks KernelMemory only of what the line above caught
}

// lockedDown tells whether a program was refused because of lockdown. The
// library takes the older bpf_probe_read for the helper that it finds missing,
// so that the verifier names that one.
func lockedDown(err error) bool {
	return refusesProbeRead(err) && errors.Is(KernelMemory(), errLockdown)
}

// refusesProbeRead tells whether the verifier missed the helper.
func refusesProbeRead(err error) bool {
	var verifier *ebpf.VerifierError
	return errors.As(err, &verifier) && namesProbeRead(verifier.Log)
}

// namesProbeRead looks for "unknown func bpf_probe_read#4", on newer kernels
// "program of this type cannot use helper bpf_probe_read#4".
func namesProbeRead(log []string) bool {
	for _, line := range log {
		if strings.Contains(line, "func bpf_probe_read") || strings.Contains(line, "helper bpf_probe_read") {
			return true
		}
	}
	return false
}
