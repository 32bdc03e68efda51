package strace

import (
	"encoding/binary"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

const (
	atFDCWD = syscalls.ATFDCWD
	cwd     = uint64(1<<64 + atFDCWD)
)

// segment appends memory as the tracer copies it.
func segment(to []byte, addr uint64, data []byte, entry bool) []byte {
	to = binary.LittleEndian.AppendUint64(to, addr)
	to = binary.LittleEndian.AppendUint32(to, uint32(len(data)))
	flag := uint32(0)
	if entry {
		flag = 1
	}
	to = binary.LittleEndian.AppendUint32(to, flag)
	to = append(to, data...)
	return append(to, make([]byte, (8-len(data)%8)%8)...)
}
