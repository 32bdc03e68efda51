package decode

import "github.com/hangtrace/hangtrace/internal/syscalls"

// structSize gives the size of a structure or of an element; 0 when it is not
// decoded.
func structSize(arch syscalls.Arch, s syscalls.Struct) int {
	if n := fixedSize(s); n != 0 {
		return n
	}
	word := arch.Bits() / 8
	switch s {
	case syscalls.StructOff, syscalls.StructLong, syscalls.StructTimeT, syscalls.StructUlong, syscalls.StructUlonghex:
		return word
	case syscalls.StructTimeval, syscalls.StructUtimbuf:
		return 2 * word
	case syscalls.StructTimevals, syscalls.StructTms, syscalls.StructItimerval:
		return 4 * word
	case syscalls.StructStat:
		if word == 4 {
			return 0
		}
		if arch == syscalls.AMD64 {
			return 144
		}
		return 128
	case syscalls.StructStat64:
		if arch == syscalls.ARM {
			return 104
		}
		return 96
	case syscalls.StructStatfs:
		return 15 * word
	case syscalls.StructEpollEvent:
		if arch == syscalls.ARM64 || arch == syscalls.ARM {
			return 16
		}
		return 12
	case syscalls.StructRusage:
		return 18 * word
	case syscalls.StructFlock:
		return 4 * word
	}
	if word == 8 {
		return size64(s)
	}
	return 0
}

// fixedSize gives sizes that are the same on all architectures.
func fixedSize(s syscalls.Struct) int {
	switch s {
	case syscalls.StructBytes, syscalls.StructXattrval, syscalls.StructHexbytes, syscalls.StructSockaddr,
		syscalls.StructSockoptval, syscalls.StructSigset, syscalls.StructCloneArgs, syscalls.StructCpumask,
		syscalls.StructDirents, syscalls.StructDirents64:
		return 1 // bytes, as the length says
	case syscalls.StructInt, syscalls.StructU32, syscalls.StructU32s, syscalls.StructIntstruct,
		syscalls.StructWstatus, syscalls.StructSocklen:
		return 4
	case syscalls.StructSembuf:
		return 6
	case syscalls.StructU64, syscalls.StructLoff, syscalls.StructTimespec32, syscalls.StructTimezone, syscalls.StructWinsize,
		syscalls.StructFOwnerEx, syscalls.StructPollfd, syscalls.StructFdpair, syscalls.StructRlimit32, syscalls.StructCapHeader:
		return 8
	case syscalls.StructTimespec, syscalls.StructTimespecs32, syscalls.StructRlimit:
		return 16
	case syscalls.StructOpenHow, syscalls.StructCapData:
		return 24
	case syscalls.StructTimespecs, syscalls.StructItimerspec, syscalls.StructMountAttr, syscalls.StructFlock64:
		return 32
	case syscalls.StructTermios:
		return 36
	case syscalls.StructStatfs64:
		return 84
	case syscalls.StructFileHandle:
		return 8 + 128
	case syscalls.StructStatx:
		return 256
	case syscalls.StructUtsname:
		return 390
	}
	return 0
}

// size64 gives sizes of structures that are decoded for 64-bit programs only.
func size64(s syscalls.Struct) int {
	switch s {
	case syscalls.StructStackT:
		return 24
	case syscalls.StructSigaction, syscalls.StructSigevent, syscalls.StructMqAttr:
		return 32
	case syscalls.StructSiginfo:
		return 48
	case syscalls.StructTimex:
		return timexSize
	case syscalls.StructSysinfo:
		return 112
	}
	return 0
}
