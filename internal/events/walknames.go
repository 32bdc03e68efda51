package events

import "fmt"

// mdsOpName names a CEPH_MDS_OP_* of include/linux/ceph/ceph_fs.h, as the
// kernel's own ceph_mds_op_name does.
func mdsOpName(op uint32) string {
	names := map[uint32]string{
		0x00100: "lookup", 0x00101: "getattr", 0x00102: "lookuphash", 0x00103: "lookupparent",
		0x00104: "lookupino", 0x00105: "lookupname", 0x00106: "getvxattr",
		0x01105: "setxattr", 0x01106: "rmxattr", 0x01107: "setlayout", 0x01108: "setattr",
		0x01109: "setfilelock", 0x00110: "getfilelock", 0x0110a: "setdirlayout",
		0x01201: "mknod", 0x01202: "link", 0x01203: "unlink", 0x01204: "rename",
		0x01220: "mkdir", 0x01221: "rmdir", 0x01222: "symlink",
		0x01301: "create", 0x00302: "open", 0x00305: "readdir",
		0x00400: "lookupsnap", 0x01400: "mksnap", 0x01401: "rmsnap", 0x00402: "lssnap", 0x01403: "renamesnap",
	}
	if name, ok := names[op]; ok {
		return name
	}
	return fmt.Sprintf("op %#x", op)
}

// monOpName names the CEPH_MSG_* that wait for an answer of a monitor.
func monOpName(kind uint32) string {
	names := map[uint32]string{13: "statfs", 19: "version", 50: "command"}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("message %d", kind)
}

// fuseOps are the opcodes of include/uapi/linux/fuse.h.
var fuseOps = [...]string{1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK", 6: "SYMLINK",
	8: "MKNOD", 9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ",
	16: "WRITE", 17: "STATFS", 18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR", 23: "LISTXATTR",
	24: "REMOVEXATTR", 25: "FLUSH", 26: "INIT", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR", 30: "FSYNCDIR",
	31: "GETLK", 32: "SETLK", 33: "SETLKW", 34: "ACCESS", 35: "CREATE", 36: "INTERRUPT", 37: "BMAP",
	38: "DESTROY", 39: "IOCTL", 40: "POLL", 41: "NOTIFY_REPLY", 42: "BATCH_FORGET", 43: "FALLOCATE",
	44: "READDIRPLUS", 45: "RENAME2", 46: "LSEEK", 47: "COPY_FILE_RANGE", 48: "SETUPMAPPING",
	49: "REMOVEMAPPING", 50: "SYNCFS", 51: "TMPFILE", 52: "STATX", 53: "COPY_FILE_RANGE_64"}

func fuseOpName(op uint32) string {
	if int64(op) < int64(len(fuseOps)) && fuseOps[op] != "" {
		return fuseOps[op]
	}
	return fmt.Sprintf("opcode %d", op)
}
