package testkit

import "github.com/hanwen/go-fuse/v2/fuse"

// gatedFS passes every request that a caller waits for through a gate. FORGET
// has no reply and is never held.
type gatedFS struct {
	fuse.RawFileSystem
	gate *gate
}

func (g *gatedFS) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	g.gate.pass("LOOKUP")
	return g.RawFileSystem.Lookup(cancel, header, name, out)
}

func (g *gatedFS) GetAttr(cancel <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	g.gate.pass("GETATTR")
	return g.RawFileSystem.GetAttr(cancel, input, out)
}

func (g *gatedFS) SetAttr(cancel <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	g.gate.pass("SETATTR")
	return g.RawFileSystem.SetAttr(cancel, input, out)
}

func (g *gatedFS) Mknod(cancel <-chan struct{}, input *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	g.gate.pass("MKNOD")
	return g.RawFileSystem.Mknod(cancel, input, name, out)
}

func (g *gatedFS) Mkdir(cancel <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	g.gate.pass("MKDIR")
	return g.RawFileSystem.Mkdir(cancel, input, name, out)
}

func (g *gatedFS) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	g.gate.pass("UNLINK")
	return g.RawFileSystem.Unlink(cancel, header, name)
}

func (g *gatedFS) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	g.gate.pass("RMDIR")
	return g.RawFileSystem.Rmdir(cancel, header, name)
}

func (g *gatedFS) Rename(cancel <-chan struct{}, input *fuse.RenameIn, oldName string, newName string) fuse.Status {
	g.gate.pass("RENAME")
	return g.RawFileSystem.Rename(cancel, input, oldName, newName)
}

func (g *gatedFS) Link(cancel <-chan struct{}, input *fuse.LinkIn, filename string, out *fuse.EntryOut) fuse.Status {
	g.gate.pass("LINK")
	return g.RawFileSystem.Link(cancel, input, filename, out)
}

func (g *gatedFS) Symlink(cancel <-chan struct{}, header *fuse.InHeader, pointedTo string, linkName string, out *fuse.EntryOut) fuse.Status {
	g.gate.pass("SYMLINK")
	return g.RawFileSystem.Symlink(cancel, header, pointedTo, linkName, out)
}

func (g *gatedFS) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	g.gate.pass("READLINK")
	return g.RawFileSystem.Readlink(cancel, header)
}

func (g *gatedFS) Access(cancel <-chan struct{}, input *fuse.AccessIn) fuse.Status {
	g.gate.pass("ACCESS")
	return g.RawFileSystem.Access(cancel, input)
}

func (g *gatedFS) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	g.gate.pass("GETXATTR")
	return g.RawFileSystem.GetXAttr(cancel, header, attr, dest)
}

func (g *gatedFS) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	g.gate.pass("LISTXATTR")
	return g.RawFileSystem.ListXAttr(cancel, header, dest)
}

func (g *gatedFS) SetXAttr(cancel <-chan struct{}, input *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	g.gate.pass("SETXATTR")
	return g.RawFileSystem.SetXAttr(cancel, input, attr, data)
}

func (g *gatedFS) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string) fuse.Status {
	g.gate.pass("REMOVEXATTR")
	return g.RawFileSystem.RemoveXAttr(cancel, header, attr)
}

func (g *gatedFS) Create(cancel <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	g.gate.pass("CREATE")
	return g.RawFileSystem.Create(cancel, input, name, out)
}

func (g *gatedFS) Tmpfile(cancel <-chan struct{}, input *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	g.gate.pass("TMPFILE")
	return g.RawFileSystem.Tmpfile(cancel, input, out)
}

func (g *gatedFS) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	g.gate.pass("OPEN")
	return g.RawFileSystem.Open(cancel, input, out)
}

func (g *gatedFS) Read(cancel <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	g.gate.pass("READ")
	return g.RawFileSystem.Read(cancel, input, buf)
}

func (g *gatedFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	g.gate.pass("LSEEK")
	return g.RawFileSystem.Lseek(cancel, in, out)
}

func (g *gatedFS) GetLk(cancel <-chan struct{}, input *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	g.gate.pass("GETLK")
	return g.RawFileSystem.GetLk(cancel, input, out)
}

func (g *gatedFS) SetLk(cancel <-chan struct{}, input *fuse.LkIn) fuse.Status {
	g.gate.pass("SETLK")
	return g.RawFileSystem.SetLk(cancel, input)
}

func (g *gatedFS) SetLkw(cancel <-chan struct{}, input *fuse.LkIn) fuse.Status {
	g.gate.pass("SETLKW")
	return g.RawFileSystem.SetLkw(cancel, input)
}

func (g *gatedFS) Release(cancel <-chan struct{}, input *fuse.ReleaseIn) {
	g.gate.pass("RELEASE")
	g.RawFileSystem.Release(cancel, input)
}

func (g *gatedFS) Write(cancel <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	g.gate.pass("WRITE")
	return g.RawFileSystem.Write(cancel, input, data)
}

func (g *gatedFS) Writev(cancel <-chan struct{}, input *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	g.gate.pass("WRITE")
	return g.RawFileSystem.Writev(cancel, input, data)
}

func (g *gatedFS) CopyFileRange(cancel <-chan struct{}, input *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	g.gate.pass("COPYFILERANGE")
	return g.RawFileSystem.CopyFileRange(cancel, input)
}

func (g *gatedFS) Ioctl(cancel <-chan struct{}, input *fuse.IoctlIn, inbuf []byte, output *fuse.IoctlOut, outbuf []byte) fuse.Status {
	g.gate.pass("IOCTL")
	return g.RawFileSystem.Ioctl(cancel, input, inbuf, output, outbuf)
}

func (g *gatedFS) Flush(cancel <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	g.gate.pass("FLUSH")
	return g.RawFileSystem.Flush(cancel, input)
}

func (g *gatedFS) Fsync(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	g.gate.pass("FSYNC")
	return g.RawFileSystem.Fsync(cancel, input)
}

func (g *gatedFS) Fallocate(cancel <-chan struct{}, input *fuse.FallocateIn) fuse.Status {
	g.gate.pass("FALLOCATE")
	return g.RawFileSystem.Fallocate(cancel, input)
}

func (g *gatedFS) OpenDir(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	g.gate.pass("OPENDIR")
	return g.RawFileSystem.OpenDir(cancel, input, out)
}

func (g *gatedFS) ReadDir(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	g.gate.pass("READDIR")
	return g.RawFileSystem.ReadDir(cancel, input, out)
}

func (g *gatedFS) ReadDirPlus(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	g.gate.pass("READDIRPLUS")
	return g.RawFileSystem.ReadDirPlus(cancel, input, out)
}

func (g *gatedFS) ReleaseDir(input *fuse.ReleaseIn) {
	g.gate.pass("RELEASEDIR")
	g.RawFileSystem.ReleaseDir(input)
}

func (g *gatedFS) FsyncDir(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	g.gate.pass("FSYNCDIR")
	return g.RawFileSystem.FsyncDir(cancel, input)
}

func (g *gatedFS) StatFs(cancel <-chan struct{}, input *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	g.gate.pass("STATFS")
	return g.RawFileSystem.StatFs(cancel, input, out)
}

func (g *gatedFS) Statx(cancel <-chan struct{}, input *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	g.gate.pass("STATX")
	return g.RawFileSystem.Statx(cancel, input, out)
}
