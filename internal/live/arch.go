package live

import (
	"runtime"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// native is the table of the machine that is traced: this one.
const native = syscalls.Arch(runtime.GOARCH)
