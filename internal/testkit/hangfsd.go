package testkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// daemonConfig is what the daemon is told on its command line.
type daemonConfig struct {
	MountPoint   string        `json:"mount_point"`
	Backing      string        `json:"backing"`
	FSType       string        `json:"fstype"` // "fuse.X" or "fuseblk"
	Source       string        `json:"source"`
	EntryTimeout time.Duration `json:"entry_timeout"`
	AttrTimeout  time.Duration `json:"attr_timeout"`
	AdminSocket  string        `json:"admin_socket"`
}

type daemonRequest struct {
	Command string   `json:"command"` // freeze, thaw, held
	Ops     []string `json:"ops,omitempty"`
}

type daemonReply struct {
	Ready bool           `json:"ready,omitempty"`
	Held  map[string]int `json:"held,omitempty"`
	Err   string         `json:"err,omitempty"`
}

// runDaemon mounts and serves until in ends. The process's end closes
// /dev/fuse, which ends the connection and every wait on it.
func runDaemon(config string, in io.Reader, out io.Writer) error {
	var cfg daemonConfig
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		return fmt.Errorf("daemon configuration: %w", err)
	}
	if cfg.AdminSocket != "" {
		l, err := net.Listen("unix", cfg.AdminSocket)
		if err != nil {
			return err
		}
		defer l.Close()
	}
	g := newGate()
	server, err := serve(cfg, g)
	if err != nil {
		return fmt.Errorf("mount of %s: %w", cfg.MountPoint, err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("start of the file system at %s: %w", cfg.MountPoint, err)
	}
	replies := json.NewEncoder(out)
	if err := replies.Encode(daemonReply{Ready: true}); err != nil {
		return err
	}
	for requests := json.NewDecoder(in); ; {
		var req daemonRequest
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("daemon request: %w", err)
		}
		if err := replies.Encode(answer(g, req)); err != nil {
			return err
		}
	}
}

func answer(g *gate, req daemonRequest) daemonReply {
	switch req.Command {
	case "freeze":
		g.freeze(req.Ops)
	case "thaw":
		g.thaw()
	case "held":
	default:
		return daemonReply{Err: "unknown command " + req.Command}
	}
	return daemonReply{Held: g.held()}
}

// serve mounts the backing directory at the mount point behind the gate.
// Passthrough must stay off: it would let the kernel read and write the backing
// file past a frozen daemon.
func serve(cfg daemonConfig, g *gate) (*fuse.Server, error) {
	root, err := fs.NewLoopbackRoot(cfg.Backing)
	if err != nil {
		return nil, err
	}
	opts := &fs.Options{EntryTimeout: &cfg.EntryTimeout, AttrTimeout: &cfg.AttrTimeout}
	opts.MountOptions = fuse.MountOptions{
		AllowOther:           true,
		FsName:               cfg.Source,
		DirectMountStrict:    true,
		EnableLocks:          true,
		MaxWrite:             64 << 10,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
	}
	raw := &gatedFS{RawFileSystem: fs.NewNodeFS(root, opts), gate: g}
	if name, ok := fuseSubtype(cfg.FSType); ok {
		opts.Name = name
		return fuse.NewServer(raw, cfg.MountPoint, &opts.MountOptions)
	}
	fd, err := mountFuse(cfg)
	if err != nil {
		return nil, err
	}
	opts.DirectMountStrict = false
	return fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &opts.MountOptions)
}

// mountFuse mounts what go-fuse's own direct mount cannot: types other than
// "fuse.X". It returns the open /dev/fuse.
func mountFuse(cfg daemonConfig) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("open /dev/fuse", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	err = unix.Mount(cfg.Source, cfg.MountPoint, cfg.FSType, unix.MS_NOSUID|unix.MS_NODEV, data)
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("mount", err)
	}
	return fd, nil
}
