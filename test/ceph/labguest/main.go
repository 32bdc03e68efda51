// Package main is labguest, the one static binary that the Ceph lab puts into
// its guest: it serves shell scripts over TCP (agent), sends them from the host
// (run), does exactly one file-system call that may hang (op), and tells what
// the kernel shows of a blocked task (facts).
//
// It must never touch the mounts under test except in op, and op must do
// nothing there but what its name says: a test relies on knowing the call.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const usage = `usage: labguest agent ADDRESS             serve scripts over TCP
       labguest run ADDRESS <SCRIPT         run a script there; exits with its status
       labguest op [-after FILE] OP PATH    one call (the name hangop implies op)
       labguest facts PID...                what /proc tells of blocked tasks, as JSON
OP: ` + "%s\n"

// again starts the program anew under its name. The main goroutine, and so what op
// does, is to be that of the main thread (TID == PID), which it may have left before
// main began; exec makes the thread that calls it the main one.
func again() error {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, os.Args, os.Environ())
}

func main() {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		fmt.Fprintf(os.Stderr, "labguest: %v\n", again())
		os.Exit(125)
	}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "hangop" {
		args = append([]string{"op"}, args...)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "labguest: %v\n", err)
	}
	os.Exit(code)
}

// run returns the exit status; 125 is "the machinery failed".
func run(args []string) (int, error) {
	if len(args) >= 2 {
		switch args[0] {
		case "agent":
			return 125, serve(args[1])
		case "run":
			return runScript(args[1], os.Stdin, os.Stdout, os.Stderr)
		case "op":
			return doOp(args[1:], os.Stdout)
		case "facts":
			return 0, printFacts(os.Stdout, args[1:])
		}
	}
	return 2, errors.New(strings.TrimSpace(fmt.Sprintf(usage, strings.Join(opNames(), " "))))
}
