package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// The hidden commands, as first argument.
const (
	wordContainer = "e2e-container"
	wordChild     = "e2e-child"
	wordStat      = "e2e-stat"
	wordRepeat    = "e2e-repeat"
	wordRead      = "e2e-read"
	wordHeld      = "e2e-held"
	wordReckless  = "e2e-reckless"
	wordChurn     = "e2e-churn"
	wordFlood     = "e2e-flood"
	wordUnmap     = "e2e-unmap"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		commands := map[string]func(args []string) error{
			wordContainer: runContainer, wordChild: runChild, wordStat: runStat, wordRepeat: runRepeat,
			wordRead: runRead, wordHeld: runHeld, wordReckless: runReckless, wordChurn: runChurn, wordFlood: runFlood, wordUnmap: runUnmap,
		}
		if run := commands[os.Args[1]]; run != nil {
			if err := run(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	testkit.Main(m)
}

// ready says so and waits for a line.
func ready() error {
	fmt.Println("ready")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// runContainer sees a volume as a container does: in a mount namespace of its
// own (the caller made it), under another path. Arguments: the volume's mount
// point on the node, the directory it is to appear at, and a file in it.
func runContainer(args []string) error {
	volume, point := args[0], args[1]
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(volume, point, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Unmount(volume, unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount", err)
	}
	if err := ready(); err != nil {
		return err
	}
	return runStat([]string{filepath.Join(point, args[2])})
}

func runStat(args []string) error { return unix.Lstat(args[0], new(unix.Stat_t)) }

// runRead reads a device, past the page cache. Argument: the device.
func runRead(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	fmt.Println("reading")
	_, err = unix.Read(fd, page)
	return err
}

// runRepeat asks for a path once a line, and prints which thread did.
func runRepeat(args []string) error {
	runtime.LockOSThread()
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := runStat(args); err != nil {
			return err
		}
		fmt.Println(unix.Gettid())
	}
	return nil
}

// runChild starts a child that hangs. Argument: the path it asks for.
func runChild(args []string) error {
	if err := ready(); err != nil {
		return err
	}
	// The tests' own process started this one with a death signal, the child
	// gets its own by the supervisor.
	p, err := os.StartProcess("/proc/self/exe", []string{"child", wordStat, args[0]}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	fmt.Println(p.Pid)
	_, err = p.Wait()
	return err
}
