package victim

import (
	"io/fs"
	"syscall"
)

// device is the device number of what was stat'ed.
func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev)
	}
	return 0
}
